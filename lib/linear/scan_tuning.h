// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The constants of scans.
#ifndef HEED_LIB_LINEAR_SCAN_TUNING_H_
#define HEED_LIB_LINEAR_SCAN_TUNING_H_

#include <cstdint>

#include "lib/linear/scan_layout.h"

namespace heed::internal {

// Tokens of a chunk where the caller leaves it open. The bits depend on it, so
// it may not depend on the CPU. Zen 4, 4096 tokens, 2 heads, one thread, ms
// with 8 / 16 / 32: head_dim 64, a decay 2.27 / 2.06 / 2.14, the gated delta
// rule 3.58 / 3.16 / 3.41; head_dim 128, 10.1 / 7.4 / 7.2 and 13.3 / 10.7
// / 11.3; with AVX2 2.35 / 2.05 / 2.14, 3.87 / 3.25 / 3.68, 10.5 / 7.9 / 8.5
// and 14.3 / 10.5 / 11.8.
inline constexpr int kDefaultChunk = 16;

// Columns of the state that stay in the first-level cache. Never changes a bit.
inline int32_t TileWidth(int64_t head_dim) { return head_dim <= 64 ? 64 : 32; }

// The most heads of single tokens that one task takes.
inline constexpr int64_t kMaxSteps = 16;

// The matrices of chunks that are prepared before the columns of the values are
// met, tile by tile: they stay in the second-level cache.
inline constexpr int64_t kSegmentBytes = 160 * 1024;

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_SCAN_TUNING_H_
