// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A query tile at work on one worker.
#ifndef HEED_LIB_CORE_TILE_H_
#define HEED_LIB_CORE_TILE_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/heads_together.h"
#include "lib/core/layout.h"
#include "lib/core/work.h"

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
  // Where the last key that some row sees ends.
  int32_t end() const { return max_end > max_sink ? max_end : max_sink; }
};

// Columns [first, first + count) of values and out.
struct ColumnRange {
  int64_t first, count;
};

struct TileWork {
  WorkItem item;
  ColumnRange columns;
  TileMemory memory;
  QueryTile tile;
  GroupLimits groups[kMaxLaneGroups];
  GroupLimits all;
  ScoreRows scores;  // where the call has score inputs
  // Sequences whose rows these are, over keys that they share; 0: of one.
  int64_t first_sharer = 0;
  int64_t num_sharers = 0;
};

// Lays `base` out for a tile of a sequence's work and sets the limits, and so
// what is worth doing. Returns false for a tile without rows, with nothing else
// done. The second is for a tile with some columns of the values only.
bool OpenTile(const AttentionRun& run, const SequenceWork& sequence,
              int64_t tile, void* base, TileWork* work);
bool OpenTile(const AttentionRun& run, const SequenceWork& sequence,
              int64_t tile, const ColumnRange& columns, void* base,
              TileWork* work);

// The same for a worker that has finished another tile of the sequence in
// `work` and `base` (or none, where `work` is TileWork()): what was laid out
// for it serves again where shape and keys are the same, as opening writes
// nothing that tiles spend. Of 16 tokens that is a 25th of all instructions.
bool OpenNextTile(const AttentionRun& run, const SequenceWork& sequence,
                  int64_t tile, void* base, TileWork* work);

// Packs the queries; after OpenTile, before the first step.
void PackTile(const AttentionRun& run, TileWork* work);

// Whether some row of the tile sees a key of the span.
bool SpanHasKeys(const TileWork& work, int64_t span);

// Attends to the keys of one span: the state in work->tile starts from nothing
// and is the span's afterwards.
void AttendSpan(const AttentionRun& run, int64_t span, TileWork* work);

// The same for `count` tiles of neighbouring key heads, a block of keys at a
// time for all of them: lib/core/heads_together.h.
void AttendSpan(const AttentionRun& run, int64_t span, TileWork* work,
                int64_t count);

// The two halves of AttendSpan, where the kernel offers them: the scores of the
// blocks of a span that begin in [begin, end), multiples of kBlockKeys, to
// `scores`, which is all the span's; and the state that these make.
void ScoreSpan(const AttentionRun& run, int64_t begin, int64_t end,
               float* scores, TileWork* work);
void WeighSpan(const AttentionRun& run, int64_t span, const float* scores,
               TileWork* work);

// Floats of the scores of a span of a tile of so many rows.
constexpr int64_t SpanScores(int64_t rows) { return rows * kSpanKeys; }

// Writes the state in work->tile, unfinished, to `states`, whose rows are [m,
// l, acc].
void SaveTile(const TensorView& states, TileWork* work);

// Writes out and lse from the state in work->tile.
void FinishTile(const AttentionRun& run, TileWork* work);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_TILE_H_
