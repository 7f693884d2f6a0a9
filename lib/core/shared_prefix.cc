// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/shared_prefix.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/lay_out.h"
#include "lib/core/layout.h"
#include "lib/core/state_rows.h"
#include "lib/core/tile_rows.h"
#include "lib/kernels/kernels.h"

namespace heed::internal {
namespace {

// The rows of one sequence for a key head: the item of its own keys.
WorkItem RowsOfSharer(const AttentionRun& run, int64_t sequence,
                      int64_t kv_head) {
  return TileAt(run, OwnWork(run, sequence), kv_head);
}

// Rows of states in a worker's memory, behind its tile: of the groups of spans
// before, of the group at hand, and of one span.
struct HandOver {
  HandOver(const Plan& plan, void* base)
      : size(2 + plan.shape.head_dim_v), rows(plan.tile_rows) {
    char* const end = static_cast<char*>(base) + plan.tile_bytes;
    total = reinterpret_cast<float*>(end - HandOverBytes(plan));
    group = total + rows * size;
    span = group + rows * size;
  }

  int64_t size, rows;
  float *total, *group, *span;
};

// Saves a state of the tile to rows from `to` on.
void SaveRows(void* state, int64_t size, float* to, TileWork* work) {
  for (int i = 0; i < work->item.num_rows; ++i) {
    work->memory.out_row[i] = to + i * size;
  }
  work->tile.state = state;
  work->item.kernel->save(work->tile, work->memory.out_row);
}

// One sequence: its own keys after the shared ones, whose states are the rows
// from total and group on.
void FinishSharer(const AttentionRun& run, const OpsTable& ops, int64_t index,
                  int64_t shared_spans, int64_t kv_head, void* base,
                  HandOver rows) {
  const SequenceWork own = OwnWork(run, index);
  TileWork work;
  if (!OpenTile(run, own, kv_head, base, &work)) return;
  const WorkItem& item = work.item;
  const int64_t size = rows.size;
  const int64_t spans = CeilDiv(item.sequence.seqlen_k, kSpanKeys);
  int64_t number = (shared_spans - 1) / kGroupSpans;
  if (shared_spans < spans) PackTile(run, &work);
  for (int64_t span = shared_spans; span < spans; ++span) {
    // A span without keys would be merged without effect.
    if (!SpanHasKeys(work, span)) continue;
    work.tile.state = work.memory.states[0];
    AttendSpan(run, span, &work);
    SaveRows(work.tile.state, size, rows.span, &work);
    const bool same_group = span / kGroupSpans == number;
    number = span / kGroupSpans;
    for (int64_t i = 0; i < item.num_rows; ++i) {
      float* const group = rows.group + i * size;
      const float* const state = rows.span + i * size;
      if (same_group) {
        MergeRow(ops, state, size, group);
      } else {
        MergeRow(ops, group, size, rows.total + i * size);
        std::copy_n(state, size, group);
      }
    }
  }
  const AttentionArgs& args = run.args;
  const bool by_unit = item.kernel == &run.plan.table->attend_bf16;
  const DividedBy by = by_unit && args.out.dtype == DType::kBF16
                           ? DividedBy::kUnit
                           : DividedBy::kTable;
  RowCursor at(item);
  for (int64_t i = 0; i < item.num_rows; ++i, at.Next()) {
    float* const row = rows.total + i * size;
    MergeRow(ops, rows.group + i * size, size, row);
    const int64_t batch = item.sequence.query_batch;
    const int64_t position = item.sequence.first_query + at.position();
    FinishRow(ops, size - 2, run.plan.shape.value_rotated, args.out.dtype, row,
              BytesAt(args.out, batch, position, at.head()),
              args.lse.absent() ? nullptr
                                : RowAt(args.lse, batch, position, at.head()),
              by);
  }
}

}  // namespace

void OpenSharedTile(const AttentionRun& run, const SequenceWork& work,
                    int64_t tile, void* base, TileWork* tile_work) {
  const int64_t kv_head =
      work.position_major ? tile % work.num_lists : tile / work.tiles_per_list;
  const int64_t part =
      work.position_major ? tile / work.num_lists : tile % work.tiles_per_list;
  const int64_t first = part * work.sharers_per_tile;
  tile_work->first_sharer = work.sequence + first;
  tile_work->num_sharers =
      std::min<int64_t>(work.sharers_per_tile, work.sharers - first);
  WorkItem& item = tile_work->item;
  item = RowsOfSharer(run, tile_work->first_sharer, kv_head);
  for (int64_t i = 1; i < tile_work->num_sharers; ++i) {
    item.num_rows +=
        RowsOfSharer(run, tile_work->first_sharer + i, kv_head).num_rows;
  }
  item.kernel = work.kernel;
  tile_work->columns = {0, run.plan.shape.head_dim_v};
  const int32_t keys = static_cast<int32_t>(work.shared_spans * kSpanKeys);
  item.sequence.seqlen_k = keys;

  const Plan& plan = run.plan;
  const TileShape shape = TileShapeOf(plan, item.num_rows);
  Carver carver(base);
  tile_work->memory =
      CarveTile(carver, *item.kernel, shape, plan.shape.seqlen_k);
  QueryTile& q = tile_work->tile;
  item.kernel->open(shape, tile_work->memory.kernel, &q);
  q.state = tile_work->memory.states[0];
  q.scores = nullptr;
  std::fill_n(q.begin, q.padded_rows, 0);
  std::fill_n(q.end, q.padded_rows, keys);
  std::fill_n(q.sink_end, q.padded_rows, 0);
  GroupLimits limits;
  limits.min_begin = limits.max_begin = 0;
  limits.min_end = limits.max_end = keys;
  limits.min_sink = limits.max_sink = 0;
  std::fill_n(tile_work->groups, q.num_groups, limits);
  tile_work->all = limits;
}

void SetSharedRows(const AttentionRun& run, const TileWork& work,
                   const ConstTensorView& view, const void** row) {
  for (int64_t i = 0; i < work.num_sharers; ++i) {
    const WorkItem item =
        RowsOfSharer(run, work.first_sharer + i, work.item.kv_head);
    SetRows(view, item, row);
    row += item.num_rows;
  }
}

void FinishShared(const AttentionRun& run, const SequenceWork& work, void* base,
                  void* total, void* group, TileWork* tile_work) {
  Target target = BestTarget();
  FindTarget(run.plan.target, &target);
  const OpsTable& ops = KernelsOf(target)->ops;
  HandOver rows(run.plan, base);
  SaveRows(group, rows.size, rows.group, tile_work);
  if (total != nullptr) {
    SaveRows(total, rows.size, rows.total, tile_work);
  } else {
    for (int64_t i = 0; i < tile_work->item.num_rows; ++i) {
      ClearRow(rows.size, rows.total + i * rows.size);
    }
  }
  const int64_t first = tile_work->first_sharer;
  const int64_t last = first + tile_work->num_sharers;
  const int64_t kv_head = tile_work->item.kv_head;
  for (int64_t s = first; s < last; ++s) {
    const int64_t count = RowsOfSharer(run, s, kv_head).num_rows;
    FinishSharer(run, ops, s, work.shared_spans, kv_head, base, rows);
    rows.total += count * rows.size;
    rows.group += count * rows.size;
  }
}

}  // namespace heed::internal
