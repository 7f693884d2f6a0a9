// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Query tiles: which rows they hold, and which keys those rows may see.
#include "lib/core/tile.h"

#include <algorithm>
#include <cstdint>

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

}  // namespace

void GroupLimits::Widen(const GroupLimits& other) {
  min_begin = std::min(min_begin, other.min_begin);
  max_begin = std::max(max_begin, other.max_begin);
  min_end = std::min(min_end, other.min_end);
  max_end = std::max(max_end, other.max_end);
  min_sink = std::min(min_sink, other.min_sink);
  max_sink = std::max(max_sink, other.max_sink);
}

bool OpenTile(const AttentionRun& run, int64_t tile, void* base,
              TileWork* work) {
  const Plan& plan = run.plan;
  work->item = TileAt(run, tile);
  const WorkItem& item = work->item;
  if (item.num_rows == 0) return false;
  const TileShape shape = TileShapeOf(plan, item.num_rows);
  Carver carver(base);
  work->memory = CarveTile(carver, *run.kernel, shape, plan.shape.seqlen_k);
  QueryTile& q = work->tile;
  run.kernel->open(shape, work->memory.kernel, &q);
  q.state = work->memory.states[0];

  work->all = GroupLimits();
  GroupLimits one;
  int64_t at = -1;
  for (int g = 0; g < q.num_groups; ++g) {
    GroupLimits& group = work->groups[g];
    group = GroupLimits();
    const LaneGroup& rows = q.groups[g];
    for (int row = rows.row; row < rows.row + rows.rows; ++row) {
      // Padded rows repeat the last row's limits.
      const int64_t position =
          item.PositionOf(std::min(row, item.num_rows - 1));
      if (position != at) {
        one = LimitsOfRow(run, position);
        group.Widen(one);
        at = position;
      } else if (row == rows.row) {
        group.Widen(one);
      }
      q.begin[row] = one.min_begin;
      q.end[row] = one.min_end;
      q.sink_end[row] = one.min_sink;
    }
    work->all.Widen(group);
  }
  return true;
}

void PackTile(const AttentionRun& run, TileWork* work) {
  const WorkItem& item = work->item;
  for (int row = 0; row < item.num_rows; ++row) {
    work->memory.query_row[row] = BytesAt(
        run.args.query, item.batch, item.PositionOf(row), item.HeadOf(row));
  }
  run.kernel->pack(work->tile, work->memory.query_row);
}

bool SpanHasKeys(const TileWork& work, int64_t span) {
  const int64_t begin = span * kSpanKeys;
  const int64_t end = begin + kSpanKeys;
  return (work.all.min_begin < end && work.all.max_end > begin) ||
         work.all.max_sink > begin;
}

void FinishTile(const AttentionRun& run, TileWork* work) {
  const WorkItem& item = work->item;
  const bool has_lse = !run.args.lse.absent();
  for (int row = 0; row < item.num_rows; ++row) {
    const int64_t position = item.PositionOf(row);
    const int64_t head = item.HeadOf(row);
    work->memory.out_row[row] =
        BytesAt(run.args.out, item.batch, position, head);
    if (has_lse) {
      work->memory.lse_row[row] =
          RowAt(run.args.lse, item.batch, position, head);
    }
  }
  run.kernel->finish(work->tile, work->memory.out_row,
                     has_lse ? work->memory.lse_row : nullptr);
}

}  // namespace heed::internal
