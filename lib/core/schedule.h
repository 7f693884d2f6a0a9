// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which query rows and keys a tile of a run has.
#ifndef HEED_LIB_CORE_SCHEDULE_H_
#define HEED_LIB_CORE_SCHEDULE_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/layout.h"

namespace heed::internal {

// The keys that the rows of one lane group may see: some row sees a key in
// [min_begin, max_end) or [0, max_sink); every row sees [max_begin, min_end)
// and [0, min_sink).
struct GroupLimits {
  int32_t min_begin = INT32_MAX;
  int32_t max_begin = 0;
  int32_t min_end = INT32_MAX;
  int32_t max_end = 0;
  int32_t min_sink = INT32_MAX;
  int32_t max_sink = 0;

  void Widen(const GroupLimits& other);
};

// One tile of a run: rows [first_row, first_row + num_rows) of a list. A list
// is a (batch, kv head), whose rows are (position, head in group) pairs; or,
// with key intervals, a (batch, head, query block), whose rows are positions.
struct TileTask {
  int64_t batch;
  int64_t kv_head;
  int64_t list;
  int64_t first_position;  // of the list's row 0
  int64_t head;            // of the list's row 0
  int64_t group_size;      // rows a position
  int64_t first_row;
  int32_t num_rows;  // 0 where a short last query block leaves the tile empty
};

// A tile at work: memory laid out, limits set, and then its rows packed.
struct TileWork {
  TileTask task;
  TileMemory memory;
  QueryTile tile;
  int num_groups = 0;
  GroupLimits groups[kMaxLaneGroups];
  GroupLimits all;
};

int64_t NumTiles(const AttentionRun& run);

// Lays out `memory_base` and sets the limits, and so what is worth doing.
void PrepareTile(const AttentionRun& run, int64_t tile, void* memory_base,
                 TileWork* work);

// Packs the queries; after PrepareTile, before the first step.
void PackTile(const AttentionRun& run, TileWork* work);

// Attends to the keys of one span: tile->tile's state starts from nothing and
// is the span's afterwards.
void AttendSpan(const AttentionRun& run, int64_t span, TileWork* work);

// Writes out and lse from the state in work->tile.
void FinishTile(const AttentionRun& run, TileWork* work);

inline void SetState(const State& state, QueryTile* tile) {
  tile->acc = state.acc;
  tile->m = state.m;
  tile->l = state.l;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_SCHEDULE_H_
