// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/work.h"

#include <algorithm>

#include "lib/core/lay_out.h"

namespace heed::internal {
namespace {

// The last sequence of [begin, end) whose numbers start at or before `number`.
const SequenceWork& Find(const AttentionRun& run, int64_t begin, int64_t end,
                         int64_t SequenceWork::*first, int64_t number) {
  if (run.sequences == nullptr) return run.all;
  const SequenceWork* after = std::partition_point(
      run.sequences + begin, run.sequences + end,
      [&](const SequenceWork& s) { return s.*first <= number; });
  return after[-1];
}

}  // namespace

WorkItem TileAt(const AttentionRun& run, const SequenceWork& sequence,
                int64_t tile) {
  const AttentionArgs& args = run.args;
  const AttentionShape& shape = run.plan.shape;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  WorkItem item;
  int64_t index;
  if (sequence.position_major) {
    item.list = tile % sequence.num_lists;
    index = tile / sequence.num_lists;
  } else {
    item.list = tile / sequence.tiles_per_list;
    index = tile % sequence.tiles_per_list;
  }
  const int64_t whole_tiles = WholeTiles(sequence);
  int64_t rows;
  const int64_t block = args.key_intervals.query_block_size;
  if (block == 0) {
    item.batch = sequence.sequence + item.list / shape.num_kv_heads;
    item.kv_head = item.list % shape.num_kv_heads;
    item.head = item.kv_head * group;
    item.first_position = 0;
    item.group_size = group;
    item.sequence = SequenceOf(run, item.batch);
    rows = item.sequence.seqlen_q * group;
  } else {
    const int64_t blocks =
        sequence.num_lists / (args.query.batch() * shape.num_heads);
    const int64_t head = item.list / blocks;
    item.batch = head / shape.num_heads;
    item.sequence = SequenceOf(run, item.batch);
    item.head = head % shape.num_heads;
    item.kv_head = item.head / group;
    item.first_position = item.list % blocks * block;
    item.group_size = 1;
    rows = std::min(block, args.query.seqlen() - item.first_position);
  }
  rows -= sequence.rest_rows;
  if (index == whole_tiles) {
    item.kernel = &run.plan.table->decode;
    item.first_row = rows;
    item.num_rows = sequence.rest_rows;
    return item;
  }
  item.kernel = sequence.kernel;
  // Late tiles first: under a causal mask they are the longest.
  item.first_row = (whole_tiles - 1 - index) * sequence.tile_rows;
  item.num_rows = static_cast<int32_t>(
      std::clamp<int64_t>(rows - item.first_row, 0, sequence.tile_rows));
  return item;
}

ItemRange RoundItems(const AttentionRun& run, int64_t round) {
  const int64_t first = round * run.num_slots;
  return {first, std::min(first + run.num_slots, run.split_items)};
}

ItemRange RoundTiles(const AttentionRun& run, ItemRange items) {
  const auto number = [&](int64_t item) {
    const UnitItem at = ItemAt(run, item);
    return at.sequence.first_tile + at.tile;
  };
  return {number(items.first), number(items.last - 1) + 1};
}

const SequenceWork& SequenceOfTask(const AttentionRun& run, int64_t task) {
  return Find(run, run.num_split, run.num_sequences, &SequenceWork::first_task,
              task);
}

const SequenceWork& SequenceOfTile(const AttentionRun& run, int64_t tile) {
  return Find(run, 0, run.num_split, &SequenceWork::first_tile, tile);
}

UnitItem ItemAt(const AttentionRun& run, int64_t item) {
  const SequenceWork& sequence =
      Find(run, 0, run.num_split, &SequenceWork::first_item, item);
  item -= sequence.first_item;
  return {sequence, item / sequence.num_units, item % sequence.num_units};
}

}  // namespace heed::internal
