// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Query tiles: which rows they hold, and which keys those rows may see.
#include <algorithm>
#include <cstdint>

#include "lib/core/schedule.h"
#include "lib/core/visible.h"

namespace heed::internal {
namespace {

// The limits of the single row at position i of the sequence.
GroupLimits LimitsOfRow(const AttentionRun& run, int64_t i) {
  const RowLimits limits =
      LimitsOf(run.plan.params, run.causal_offset, run.args.key.seqlen(), i);
  GroupLimits one;
  one.min_sink = one.max_sink = static_cast<int32_t>(limits.sink_end);
  if (limits.begin < limits.end) {
    one.min_begin = one.max_begin = static_cast<int32_t>(limits.begin);
    one.min_end = one.max_end = static_cast<int32_t>(limits.end);
  } else {
    // Empty in a form that never narrows nor widens what others see.
    one.min_begin = one.max_begin = INT32_MAX;
    one.min_end = one.max_end = 0;
  }
  return one;
}

TileTask LocateTile(const AttentionRun& run, int64_t tile) {
  const AttentionArgs& args = run.args;
  const AttentionShape& shape = run.plan.shape;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  TileTask task;
  task.list = tile / run.tiles_per_list;
  // Late tiles first: under a causal mask they are the longest.
  const int64_t index = run.tiles_per_list - 1 - tile % run.tiles_per_list;
  task.first_row = index * run.tile_rows;
  int64_t rows;
  const int64_t block = args.key_intervals.query_block_size;
  if (block == 0) {
    task.batch = task.list / shape.num_kv_heads;
    task.kv_head = task.list % shape.num_kv_heads;
    task.head = task.kv_head * group;
    task.first_position = 0;
    task.group_size = group;
    rows = args.query.seqlen() * group;
  } else {
    const int64_t blocks =
        run.num_lists / (args.query.batch() * shape.num_heads);
    const int64_t head = task.list / blocks;
    task.batch = head / shape.num_heads;
    task.head = head % shape.num_heads;
    task.kv_head = task.head / group;
    task.first_position = task.list % blocks * block;
    task.group_size = 1;
    rows = std::min(block, args.query.seqlen() - task.first_position);
  }
  task.num_rows = static_cast<int32_t>(
      std::clamp<int64_t>(rows - task.first_row, 0, run.tile_rows));
  return task;
}

}  // namespace

void GroupLimits::Widen(const GroupLimits& other) {
  min_begin = std::min(min_begin, other.min_begin);
  max_begin = std::max(max_begin, other.max_begin);
  min_end = std::min(min_end, other.min_end);
  max_end = std::max(max_end, other.max_end);
  min_sink = std::min(min_sink, other.min_sink);
  max_sink = std::max(max_sink, other.max_sink);
}

int64_t NumTiles(const AttentionRun& run) {
  return run.num_lists * run.tiles_per_list;
}

void PrepareTile(const AttentionRun& run, int64_t tile, void* memory_base,
                 TileWork* work) {
  const Plan& plan = run.plan;
  work->task = LocateTile(run, tile);
  const TileTask& task = work->task;
  Carver carver(memory_base);
  work->memory = CarveTile(carver, plan.tile_rows, SlotRows(plan),
                           plan.shape.head_dim, plan.shape.head_dim_v);
  const TileMemory& memory = work->memory;

  QueryTile& q = work->tile;
  q.query = memory.query;
  q.score = memory.score;
  SetState(memory.states[0], &q);
  q.num_rows = task.num_rows;
  q.head_dim = static_cast<int>(plan.shape.head_dim);
  q.head_dim_v = static_cast<int>(plan.shape.head_dim_v);
  q.rule = plan.score_rule;
  q.begin = memory.begin;
  q.end = memory.end;
  q.sink_end = memory.sink_end;

  int rows_of[kMaxLaneGroups];
  work->num_groups = plan.table->split_rows(task.num_rows, rows_of);
  work->all = GroupLimits();
  int row = 0;
  GroupLimits one;
  int64_t at = -1;
  for (int g = 0; g < work->num_groups; ++g) {
    GroupLimits& group = work->groups[g];
    group = GroupLimits();
    for (const int end = row + rows_of[g]; row < end; ++row) {
      // Padded rows repeat the last row's limits.
      const int64_t index = task.first_row + std::min(row, task.num_rows - 1);
      const int64_t position = task.first_position + index / task.group_size;
      if (position != at) one = LimitsOfRow(run, position);
      at = position;
      memory.begin[row] = one.min_begin;
      memory.end[row] = one.min_end;
      memory.sink_end[row] = one.min_sink;
      group.Widen(one);
    }
    work->all.Widen(group);
  }
}

void PackTile(const AttentionRun& run, TileWork* work) {
  const TileTask& task = work->task;
  for (int row = 0; row < task.num_rows; ++row) {
    const int64_t index = task.first_row + row;
    work->memory.query_row[row] =
        RowAt(run.args.query, task.batch,
              task.first_position + index / task.group_size,
              task.head + index % task.group_size);
  }
  run.plan.table->pack(work->tile, work->memory.query_row);
}

void FinishTile(const AttentionRun& run, TileWork* work) {
  const TileTask& task = work->task;
  const bool has_lse = !run.args.lse.absent();
  for (int row = 0; row < task.num_rows; ++row) {
    const int64_t index = task.first_row + row;
    const int64_t position = task.first_position + index / task.group_size;
    const int64_t head = task.head + index % task.group_size;
    work->memory.out_row[row] = RowAt(run.args.out, task.batch, position, head);
    if (has_lse) {
      work->memory.lse_row[row] =
          RowAt(run.args.lse, task.batch, position, head);
    }
  }
  run.plan.table->finish(work->tile, work->memory.out_row,
                         has_lse ? work->memory.lse_row : nullptr);
}

}  // namespace heed::internal
