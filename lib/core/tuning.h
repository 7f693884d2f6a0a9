// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every constant that was chosen by measurement. None changes a result's bits.
#ifndef HEED_LIB_CORE_TUNING_H_
#define HEED_LIB_CORE_TUNING_H_

#include <cstdint>

namespace heed::internal {

// Lane groups a query tile. Each key block is brought near once a tile and
// then read once a lane group.
inline constexpr int kLaneGroups = 2;

// A worker's tile (query, two states, scores) stays below this, so that the
// workspace is bounded whatever the head dimensions; lane groups are dropped
// until it does. 48 rows of head_dim 1024 take 0.6 MiB.
inline constexpr int64_t kMaxTileBytes = 768 * 1024;

// Tiles that each worker should get at least, before lane groups are dropped
// and then spans of one tile are spread over workers.
inline constexpr int64_t kTilesPerWorker = 2;

// States of spans that a worker contributes to a split run.
inline constexpr int64_t kSlotsPerWorker = 2;

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_TUNING_H_
