// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/parts.h"

#include <algorithm>

#include "lib/core/group_chain.h"
#include "lib/core/lay_out.h"
#include "lib/core/layout.h"
#include "lib/core/tile.h"
#include "lib/core/work.h"

namespace heed::internal {
namespace {

ColumnRange ColumnsOf(const AttentionRun& run, int64_t part) {
  const int64_t first = part * run.parts.part_columns;
  return {first, std::min<int64_t>(run.parts.part_columns,
                                   run.plan.shape.head_dim_v - first)};
}

// Bytes of the state of a part of the columns.
int64_t PartStateBytes(const AttentionRun& run) {
  TileShape shape = TileShapeOf(run.plan, run.all.tile_rows);
  shape.head_dim_v = run.parts.part_columns;
  return run.all.kernel->state_bytes(shape);
}

// Bytes of the scores of an item.
int64_t ScoreBytes(const AttentionRun& run) {
  return SpanScores(run.all.tile_rows) * static_cast<int64_t>(sizeof(float));
}

// The slots hold the scores of all items, then the states of their parts.
float* ScoresOf(const AttentionRun& run, int64_t item) {
  return reinterpret_cast<float*>(AreasOf(run).slots + item * ScoreBytes(run));
}
char* StateOf(const AttentionRun& run, int64_t item, int64_t part) {
  return AreasOf(run).slots + NumItems(run.all) * ScoreBytes(run) +
         (item * run.parts.column_parts + part) * PartStateBytes(run);
}

int64_t SpanOf(const AttentionRun& run, int64_t item) {
  return UnitAt(run.all, item % run.all.num_units);
}

// Scores of a part of a span's keys.
void RunScores(const AttentionRun& run, int64_t i, int worker) {
  const int64_t item = i / run.parts.key_parts;
  const int64_t part = i % run.parts.key_parts;
  TileWork work;
  OpenTile(run, run.all, item / run.all.num_units, TileBase(run, worker),
           &work);
  PackTile(run, &work);
  const int64_t span = SpanOf(run, item) * kSpanKeys;
  const int64_t begin = span + part * run.parts.part_keys;
  const int64_t end = std::min(begin + run.parts.part_keys, span + kSpanKeys);
  ScoreSpan(run, begin, end, ScoresOf(run, item), &work);
}

// The state of a part of the columns.
void RunWeights(const AttentionRun& run, int64_t i, int worker) {
  const int64_t item = i / run.parts.column_parts;
  const int64_t part = i % run.parts.column_parts;
  TileWork work;
  OpenTile(run, run.all, item / run.all.num_units, ColumnsOf(run, part),
           TileBase(run, worker), &work);
  work.tile.state = StateOf(run, item, part);
  WeighSpan(run, SpanOf(run, item), ScoresOf(run, item), &work);
}

// Merges the states of all spans of a part of a tile's columns, and finishes.
void RunMerge(const AttentionRun& run, int64_t i, int worker) {
  const int64_t tile = i / run.parts.column_parts;
  const int64_t part = i % run.parts.column_parts;
  TileWork work;
  OpenTile(run, run.all, tile, ColumnsOf(run, part), TileBase(run, worker),
           &work);
  GroupChain chain(*work.item.kernel, &work.tile);
  for (int64_t unit = 0; unit < run.all.num_units; ++unit) {
    chain.Add(StateOf(run, tile * run.all.num_units + unit, part),
              GroupOf(run.all, unit));
  }
  work.tile.state = chain.Finish();
  FinishTile(run, &work);
}

}  // namespace

bool LayOutParts(const Sequence& sequence, AttentionRun* run) {
  const SequenceWork& all = run->all;
  const AttentionShape& shape = run->plan.shape;
  if (!run->barriers || all.kernel->score == nullptr || all.num_units < 1 ||
      shape.scores || shape.value_rotated ||
      run->args.key_intervals.query_block_size != 0) {
    return false;
  }
  const int64_t items = NumItems(all);
  if (kWorkersPerItem * items > run->workers ||
      SeenKeysOf(*run, sequence).count() < all.num_units * kLeastKeysInParts) {
    return false;
  }
  const int64_t keys = std::min(sequence.seqlen_k, kSpanKeys);
  const int64_t share = CeilDiv(run->workers, items);
  // Groups of 4-bit elements stay whole.
  const int64_t step = shape.value_dtype == DType::kU4 ? 64 : kPartColumns;
  const int64_t steps = std::max<int64_t>(CeilDiv(shape.head_dim_v, step), 1);
  PartWork& parts = run->parts;
  parts.part_keys = static_cast<int32_t>(
      std::max(RoundUp(CeilDiv(keys, kKeyPartsPerWorker * share), kBlockKeys),
               kLeastPartKeys));
  parts.key_parts = static_cast<int32_t>(CeilDiv(keys, parts.part_keys));
  parts.part_columns =
      static_cast<int32_t>(CeilDiv(steps, std::min(share, steps)) * step);
  parts.column_parts = static_cast<int32_t>(
      std::max<int64_t>(CeilDiv(shape.head_dim_v, parts.part_columns), 1));
  const int64_t bytes =
      items * (ScoreBytes(*run) + parts.column_parts * PartStateBytes(*run));
  if (bytes > run->workers * run->plan.slots_bytes) parts = PartWork();
  return InParts(*run);
}

int64_t NumPartTasks(const AttentionRun& run, int phase) {
  const int64_t items = NumItems(run.all);
  return phase == 0   ? items * run.parts.key_parts
         : phase == 1 ? items * run.parts.column_parts
                      : NumTiles(run.all) * run.parts.column_parts;
}

void RunPartTask(const AttentionRun& run, int phase, int64_t i, int worker) {
  if (phase == 0) return RunScores(run, i, worker);
  if (phase == 1) return RunWeights(run, i, worker);
  RunMerge(run, i, worker);
}

}  // namespace heed::internal
