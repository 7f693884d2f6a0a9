// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The constants of scans.
#ifndef HEED_LIB_LINEAR_SCAN_TUNING_H_
#define HEED_LIB_LINEAR_SCAN_TUNING_H_

#include <cstdint>

#include "lib/linear/scan_layout.h"

namespace heed::internal {

// Tokens of a chunk where the caller leaves it open. It is part of what the
// bits depend on, so it may depend on the shape alone.
inline int ChunkOf(const ScanShape& shape) {
  return shape.decay_dim > 1 ? 16 : 32;
}

// Columns of the state that stay in the first-level cache. Never changes a bit.
inline int32_t TileWidth(int64_t head_dim) { return head_dim <= 64 ? 64 : 32; }

// The matrices of chunks that are prepared before the columns of the values are
// met, tile by tile: they stay in the second-level cache.
inline constexpr int64_t kSegmentBytes = 160 * 1024;

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_SCAN_TUNING_H_
