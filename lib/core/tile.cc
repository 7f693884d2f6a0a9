// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Query tiles: which rows they hold, and which keys those rows may see.
#include "lib/core/tile.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/row_limits.h"
#include "lib/core/scores.h"
#include "lib/core/shared_prefix.h"
#include "lib/core/tensors.h"
#include "lib/core/tile_rows.h"

namespace heed::internal {
namespace {

// The limits of the single row at position i of the sequence.
GroupLimits LimitsOfRow(LimitsOfRows* rows, int64_t i) {
  const RowLimits limits = rows->At(i);
  GroupLimits one;
  one.min_sink = one.max_sink = static_cast<int32_t>(limits.sink_end);
  // Then [0, sink_end) is more than the row sees: ScoreRows::first.
  if (limits.first > 0) one.min_sink = 0;
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

// Sets what each row and each lane group may see.
void SetLimits(const AttentionRun& run, TileWork* work) {
  QueryTile& q = work->tile;
  LimitsOfRows limits(run, work->item.sequence);
  GroupLimits one = LimitsOfRow(&limits, work->item.PositionOf(0));
  if (SameForAllRows(run)) {
    std::fill_n(q.begin, q.padded_rows, one.min_begin);
    std::fill_n(q.end, q.padded_rows, one.min_end);
    std::fill_n(q.sink_end, q.padded_rows, one.min_sink);
    std::fill_n(work->groups, q.num_groups, one);
    work->all = one;
    return;
  }
  work->all = GroupLimits();
  RowCursor cursor(work->item);
  int64_t at = cursor.position();
  int next = 0;  // the row of the cursor
  for (int g = 0; g < q.num_groups; ++g) {
    GroupLimits& group = work->groups[g];
    group = GroupLimits();
    const LaneGroup& rows = q.groups[g];
    for (int row = rows.row; row < rows.row + rows.rows; ++row) {
      // Padded rows repeat the last row's limits.
      if (row < work->item.num_rows) {
        for (; next < row; ++next) cursor.Next();
      }
      if (cursor.position() != at) {
        at = cursor.position();
        one = LimitsOfRow(&limits, at);
        group.Widen(one);
      } else if (row == rows.row) {
        group.Widen(one);
      }
      q.begin[row] = one.min_begin;
      q.end[row] = one.min_end;
      q.sink_end[row] = one.max_sink;
    }
    work->all.Widen(group);
  }
}

// The vectors of rows that begin with a document, and those after one that
// holds rows of two.
uint64_t CutsOf(const AttentionRun& run, const WorkItem& item) {
  const ConstTensorView& documents = run.args.scores.query_documents;
  if (!run.plan.shape.scores || documents.absent()) return 0;
  const Sequence& sequence = item.sequence;
  const auto document_at = [&](int64_t position) {
    return NumberAt(documents, sequence.query_batch,
                    sequence.first_query + position);
  };
  constexpr int64_t kMostCuts = 64;  // tiles of tables with vectors have fewer
  const int64_t lanes = item.kernel->lanes();
  uint64_t cuts = 0;
  int64_t position = item.PositionOf(0);
  int32_t document = document_at(position);
  // The first row of the next position.
  int64_t row = item.group_size - item.first_row % item.group_size;
  for (; row < item.num_rows; row += item.group_size) {
    const int32_t next = document_at(++position);
    if (next == document) continue;
    document = next;
    const int64_t vector = row / lanes;
    if (vector > kMostCuts - 2) break;
    cuts |= uint64_t{1} << vector;
    if (row % lanes != 0) cuts |= uint64_t{2} << vector;
  }
  return cuts;
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

bool OpenTile(const AttentionRun& run, const SequenceWork& sequence,
              int64_t tile, void* base, TileWork* work) {
  if (IsShared(sequence)) {
    OpenSharedTile(run, sequence, tile, base, work);
    return true;
  }
  return OpenTile(run, sequence, tile, {0, run.plan.shape.head_dim_v}, base,
                  work);
}

bool OpenTile(const AttentionRun& run, const SequenceWork& sequence,
              int64_t tile, const ColumnRange& columns, void* base,
              TileWork* work) {
  const Plan& plan = run.plan;
  work->num_sharers = 0;
  work->item = TileAt(run, sequence, tile);
  work->columns = columns;
  const WorkItem& item = work->item;
  if (item.num_rows == 0) return false;
  TileShape shape = TileShapeOf(plan, item.num_rows);
  shape.uneven_keys = sequence.uneven_keys;
  shape.head_dim_v = static_cast<int>(columns.count);
  shape.cuts = CutsOf(run, item);
  Carver carver(base);
  work->memory = CarveTile(carver, *item.kernel, shape, plan.shape.seqlen_k);
  QueryTile& q = work->tile;
  item.kernel->open(shape, work->memory.kernel, &q);
  q.state = work->memory.states[0];

  SetLimits(run, work);
  SetScores(run, work);
  return true;
}

bool OpenNextTile(const AttentionRun& run, const SequenceWork& sequence,
                  int64_t tile, void* base, TileWork* work) {
  const int32_t rows = work->item.num_rows;
  if (rows > 0 && SameForAllRows(run) && !run.plan.shape.scores &&
      !IsShared(sequence)) {
    const AttendKernel* kernel = work->item.kernel;
    work->item = TileAt(run, sequence, tile);
    if (work->item.kernel == kernel && work->item.num_rows == rows) {
      work->tile.state = work->memory.states[0];
      return true;
    }
  }
  *work = TileWork();
  return OpenTile(run, sequence, tile, base, work);
}

void PackTile(const AttentionRun& run, TileWork* work) {
  if (work->num_sharers > 0) {
    SetSharedRows(run, *work, run.args.query, work->memory.query_row);
  } else {
    SetRows(run.args.query, work->item, work->memory.query_row);
  }
  work->item.kernel->pack(work->tile, work->memory.query_row);
}

bool SpanHasKeys(const TileWork& work, int64_t span) {
  const int64_t begin = span * kSpanKeys;
  const int64_t end = begin + kSpanKeys;
  return (work.all.min_begin < end && work.all.max_end > begin) ||
         work.all.max_sink > begin;
}

void SaveTile(const TensorView& states, TileWork* work) {
  SetRows(states, work->item, work->memory.out_row);
  work->item.kernel->save(work->tile, work->memory.out_row);
}

void FinishTile(const AttentionRun& run, TileWork* work) {
  // Every part of the columns knows it.
  const bool has_lse = !run.args.lse.absent() && work->columns.first == 0;
  SetRows(FromColumn(run.args.out, work->columns.first), work->item,
          work->memory.out_row);
  if (has_lse) SetRows(run.args.lse, work->item, work->memory.lse_row);
  work->item.kernel->finish(work->tile, work->memory.out_row,
                            has_lse ? work->memory.lse_row : nullptr);
}

}  // namespace heed::internal
