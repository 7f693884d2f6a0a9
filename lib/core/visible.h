// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The keys that a query row may see: AttentionParams as ranges.
#ifndef HEED_LIB_CORE_VISIBLE_H_
#define HEED_LIB_CORE_VISIBLE_H_

#include <algorithm>
#include <cstdint>

#include "heed/attention.h"

namespace heed::internal {

// Keys [begin, end) and [first, sink_end), all in [0, seqlen_k]. The two may
// overlap, and begin may lie beyond end: then the row sees the sinks only.
struct RowLimits {
  int64_t begin, end, sink_end;
  int64_t first = 0;  // nor any key before it
};

// Whether all rows see the same keys.
inline bool SameForAllRows(const AttentionParams& params) {
  return !params.causal && params.window_left < 0 && params.window_right < 0;
}

// `offset` is the position of query row 0, resolved.
inline RowLimits LimitsOf(const AttentionParams& params, int64_t offset,
                          int64_t seqlen_k, int64_t row) {
  // Positions, windows and offsets may be as large as 64 bits go.
  using Wide = __int128;
  const auto clamp = [&](Wide x) {
    return static_cast<int64_t>(std::clamp<Wide>(x, 0, seqlen_k));
  };
  const Wide position = Wide{offset} + Wide{row};
  RowLimits limits = {0, seqlen_k, 0, 0};
  if (params.causal) limits.end = clamp(position + 1);
  limits.sink_end = std::min(params.sink_size, limits.end);
  if (params.window_left >= 0) {
    limits.begin = clamp(position - params.window_left);
  }
  if (params.window_right >= 0) {
    limits.end =
        std::min(limits.end, clamp(position + params.window_right + 1));
  }
  return limits;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_VISIBLE_H_
