// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs: the schedule of one call, and its tasks.
//
// Usually a task is a tile through all its spans. Where there are too few tiles
// for the workers and more than one span, a task is a (tile, span), numbered
// tile by tile: its state goes to a slot, and the tile's spans are merged in
// order afterwards. There are only so many slots, so this may take rounds; a
// tile that a round leaves unfinished is carried into the next. Both ways give
// the same bits: the state of a span never depends on who computes it.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/layout.h"
#include "lib/core/schedule.h"

namespace heed {
namespace internal {
namespace {

struct Parts {
  int32_t* counters;  // spans done of the tile whose number it has
  char* slots;
  char* carries;
  char* tiles;
};

Parts PartsOf(const AttentionRun& run) {
  Parts parts;
  char* base = static_cast<char*>(run.workspace.data);
  const int64_t slots = NumSlots(run.workers);
  parts.counters = reinterpret_cast<int32_t*>(base);
  parts.slots = base + Padded(slots * 4);
  parts.carries = parts.slots + slots * run.plan.slot_bytes;
  parts.tiles = base + SharedBytes(run.plan, run.workers);
  return parts;
}

State StateAt(const AttentionRun& run, char* base) {
  Carver carver(base);
  return CarveState(carver, SlotRows(run.plan), run.plan.shape.head_dim_v);
}

State Slot(const AttentionRun& run, int64_t slot) {
  return StateAt(run, PartsOf(run).slots + slot * run.plan.slot_bytes);
}

void* TileBase(const AttentionRun& run, int worker) {
  return PartsOf(run).tiles + worker * run.plan.tile_bytes;
}

// The spans in which some row of the tile sees a key.
bool SpanHasKeys(const TileWork& work, int64_t span) {
  const int64_t begin = span * kSpanKeys;
  const int64_t end = begin + kSpanKeys;
  return (work.all.min_begin < end && work.all.max_end > begin) ||
         work.all.max_sink > begin;
}

void RunTile(const AttentionRun& run, int64_t tile, int worker) {
  TileWork work;
  PrepareTile(run, tile, TileBase(run, worker), &work);
  if (work.task.num_rows == 0) return;
  PackTile(run, &work);
  const AttentionTable& table = *run.plan.table;
  // The first span's state becomes the total; others are merged into it. A
  // span without keys would be merged without effect.
  bool any = false;
  for (int64_t span = 0; span < run.num_spans; ++span) {
    if (!SpanHasKeys(work, span)) continue;
    SetState(work.memory.states[any ? 1 : 0], &work.tile);
    AttendSpan(run, span, &work);
    if (any) {
      SetState(work.memory.states[0], &work.tile);
      const State& state = work.memory.states[1];
      table.merge(work.tile, state.acc, state.m, state.l);
    }
    any = true;
  }
  if (!any) table.clear(work.tile);
  FinishTile(run, &work);
}

void RunSpan(const AttentionRun& run, int64_t item, int64_t slot, int worker) {
  TileWork work;
  PrepareTile(run, item / run.num_spans, TileBase(run, worker), &work);
  if (work.task.num_rows == 0) return;
  const int64_t span = item % run.num_spans;
  if (SpanHasKeys(work, span)) PackTile(run, &work);
  SetState(Slot(run, slot), &work.tile);
  AttendSpan(run, span, &work);
}

// The spans [begin, end) of a tile, whose states stand in consecutive slots
// from `slot`.
struct SpansDone {
  int64_t tile;
  int64_t begin, end;
  int64_t slot;
  int64_t round;
};

// Merges them onto what the round before left, if anything. Finishes the tile
// or leaves it to the next round.
void MergeTile(const AttentionRun& run, SpansDone spans, int worker) {
  TileWork work;
  PrepareTile(run, spans.tile, TileBase(run, worker), &work);
  if (work.task.num_rows == 0) return;
  const auto carry = [&](int64_t of_round) {
    return PartsOf(run).carries + of_round % 2 * run.plan.slot_bytes;
  };
  if (spans.begin == 0) {
    SetState(Slot(run, spans.slot++), &work.tile);
    ++spans.begin;
  } else {
    SetState(StateAt(run, carry(spans.round)), &work.tile);
  }
  for (; spans.begin < spans.end; ++spans.begin, ++spans.slot) {
    const State state = Slot(run, spans.slot);
    run.plan.table->merge(work.tile, state.acc, state.m, state.l);
  }
  if (spans.end == run.num_spans) {
    FinishTile(run, &work);
  } else {
    std::memcpy(carry(spans.round + 1), work.tile.acc,
                static_cast<size_t>(run.plan.slot_bytes));
  }
}

int64_t NumItems(const AttentionRun& run) {
  return NumTiles(run) * run.num_spans;
}

// Round r of a split run has the items [first, last).
void RoundItems(const AttentionRun& run, int64_t round, int64_t* first,
                int64_t* last) {
  *first = round * run.num_slots;
  *last = std::min(*first + run.num_slots, NumItems(run));
}

void RunMerge(const AttentionRun& run, int64_t round, int64_t i, int worker) {
  int64_t first, last;
  RoundItems(run, round, &first, &last);
  const int64_t tile = first / run.num_spans + i;
  const int64_t tile_first = tile * run.num_spans;
  const int64_t begin = std::max(first, tile_first);
  const int64_t end = std::min(last, tile_first + run.num_spans);
  MergeTile(run,
            {tile, begin - tile_first, end - tile_first, begin - first, round},
            worker);
}

// Without barriers: whoever finishes a tile's last span merges them all.
void RunSpanAndMerge(const AttentionRun& run, int64_t item, int worker) {
  RunSpan(run, item, item, worker);
  const int64_t tile = item / run.num_spans;
  std::atomic_ref<int32_t> done(PartsOf(run).counters[tile]);
  // Releases this span's state, and acquires the others'.
  if (done.fetch_add(1, std::memory_order_acq_rel) + 1 != run.num_spans) {
    return;
  }
  MergeTile(run, {tile, 0, run.num_spans, tile * run.num_spans, /*round=*/0},
            worker);
}

// Sets the rows of a tile, the lists and the tiles of each list.
void LayOutTiles(AttentionRun* run) {
  const AttentionArgs& args = run->args;
  const AttentionShape& shape = run->plan.shape;
  const int64_t block = args.key_intervals.query_block_size;
  int64_t rows;
  if (block == 0) {
    run->num_lists = args.query.batch() * shape.num_kv_heads;
    rows = args.query.seqlen() * (shape.num_heads / shape.num_kv_heads);
  } else {
    run->num_lists =
        args.query.batch() * shape.num_heads *
        (args.query.seqlen() / block + (args.query.seqlen() % block != 0));
    rows = std::min(block, args.query.seqlen());
  }
  const int64_t lanes = run->plan.table->lanes();
  const int64_t group_rows = GroupRows(run->plan);
  const int64_t want = run->workers > 1 ? kTilesPerWorker * run->workers : 1;
  int64_t tile_rows = run->plan.tile_rows;
  const auto tiles = [&] { return (rows + tile_rows - 1) / tile_rows; };
  while (tile_rows > group_rows && tiles() * run->num_lists < want) {
    tile_rows = std::max(RoundUp(tile_rows / 2, group_rows), group_rows);
  }
  run->tiles_per_list = tiles();
  // Evened out, so that the last tile is not a small one.
  run->tile_rows = static_cast<int32_t>(
      RoundUp((rows + run->tiles_per_list - 1) / run->tiles_per_list, lanes));
}

}  // namespace
}  // namespace internal

Status BeginRun(const Plan& plan, const AttentionArgs& args,
                Workspace workspace, int workers, const RunOptions& options,
                AttentionRun* run) {
  if (run == nullptr) {
    return Status(StatusCode::kInvalidArgument, "run", "is null");
  }
  if (plan.table == nullptr) {
    return Status(StatusCode::kInvalidArgument, "plan", "was not made");
  }
  if (workers < 1) {
    return Status(StatusCode::kInvalidArgument, "workers", "must be positive")
        .WithValue(workers)
        .WithBound(1, BoundKind::kSaid);
  }
  Status status = internal::CheckArgs(plan, args);
  if (!status.ok()) return status;
  status = internal::CheckWorkspace(plan, args, workspace, workers);
  if (!status.ok()) return status;

  AttentionRun made;
  made.plan = plan;
  made.args = args;
  internal::ForEachTensor(made.args, [](auto& view, const auto&, auto) {
    view = internal::UsedStrides(view);
  });
  made.workspace = workspace;
  made.workers = workers;
  made.barriers = options.barriers;
  const int64_t seqlen_q = args.query.seqlen();
  const int64_t seqlen_k = args.key.seqlen();
  made.causal_offset = plan.params.causal_offset == kBottomRight
                           ? seqlen_k - seqlen_q
                           : plan.params.causal_offset;
  made.num_spans = (seqlen_k + internal::kSpanKeys - 1) / internal::kSpanKeys;
  if (args.query.batch() == 0 || seqlen_q == 0 || args.query.heads() == 0 ||
      (plan.shape.head_dim_v == 0 && args.lse.absent())) {
    *run = made;  // nothing to write: no phases
    return Status();
  }
  internal::LayOutTiles(&made);
  made.num_slots = internal::NumSlots(workers);
  const int64_t tiles = internal::NumTiles(made);
  made.split = workers > 1 && made.num_spans > 1 &&
               tiles < internal::kTilesPerWorker * workers &&
               (made.barriers || internal::NumItems(made) <= made.num_slots);
  made.num_phases = 1;
  if (made.split && made.barriers) {
    made.num_phases = static_cast<int32_t>(
        2 * ((internal::NumItems(made) + made.num_slots - 1) / made.num_slots));
  } else if (made.split) {
    std::memset(internal::PartsOf(made).counters, 0,
                static_cast<size_t>(tiles) * 4);
  }
  *run = made;
  return Status();
}

int NumPhases(const AttentionRun& run) { return run.num_phases; }

int64_t NumTasks(const AttentionRun& run, int phase) {
  if (phase < 0 || phase >= run.num_phases) return 0;
  if (!run.split) return internal::NumTiles(run);
  if (!run.barriers) return internal::NumItems(run);
  int64_t first, last;
  internal::RoundItems(run, phase / 2, &first, &last);
  if (phase % 2 == 0) return last - first;
  return (last - 1) / run.num_spans - first / run.num_spans + 1;
}

void RunTask(const AttentionRun& run, int phase, int64_t i, int worker) {
  if (i < 0 || i >= NumTasks(run, phase) || worker < 0 ||
      worker >= run.workers) {
    return;
  }
  if (!run.split) {
    internal::RunTile(run, i, worker);
  } else if (!run.barriers) {
    internal::RunSpanAndMerge(run, i, worker);
  } else if (phase % 2 == 0) {
    internal::RunSpan(run, phase / 2 * run.num_slots + i, i, worker);
  } else {
    internal::RunMerge(run, phase / 2, i, worker);
  }
}

}  // namespace heed
