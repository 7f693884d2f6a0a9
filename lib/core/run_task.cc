// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tasks: states of spans, and their merge in two levels: a chain within each
// group of spans, then a chain over groups.
#include "lib/core/run_task.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "lib/core/group_chain.h"
#include "lib/core/heads_together.h"
#include "lib/core/layout.h"
#include "lib/core/shared_prefix.h"
#include "lib/core/tile.h"
#include "lib/core/work.h"

namespace heed::internal {
namespace {

void* SlotAt(const AttentionRun& run, int64_t slot) {
  return AreasOf(run).slots + slot * run.slot_bytes;
}

// Tiles that see the same keys: one, or those of neighbouring key heads.
struct Tiles {
  TileWork* work;
  int64_t count;
};

void UseState(const Tiles& tiles, int state) {
  for (TileWork* work = tiles.work; work != tiles.work + tiles.count; ++work) {
    work->tile.state = work->memory.states[state];
  }
}

// Merges the state `later` onto `state`, and leaves that in use.
void MergeState(const Tiles& tiles, int state, int later) {
  UseState(tiles, state);
  for (TileWork* work = tiles.work; work != tiles.work + tiles.count; ++work) {
    work->item.kernel->merge(work->tile, work->memory.states[later]);
  }
}

// Attends to all spans of a unit that the tiles see, with the state `state` for
// their chain and `later` for each span but the first. Returns whether they saw
// any.
bool AttendUnit(const AttentionRun& run, const SequenceWork& sequence,
                int64_t unit, int state, int later, const Tiles& tiles) {
  const int64_t all =
      (tiles.work->item.sequence.seqlen_k + kSpanKeys - 1) / kSpanKeys;
  const int64_t begin = unit * sequence.unit_spans;
  const int64_t end = std::min(begin + sequence.unit_spans, all);
  bool any = false;
  for (int64_t span = begin; span < end; ++span) {
    // A span without keys would be merged without effect.
    if (!SpanHasKeys(*tiles.work, span)) continue;
    UseState(tiles, any ? later : state);
    AttendSpan(run, span, tiles.work, tiles.count);
    if (any) MergeState(tiles, state, later);
    any = true;
  }
  UseState(tiles, state);
  return any;
}

// The units [begin, end) of a tile, counted as the tile visits them, whose
// states stand in consecutive slots from `slot`.
struct UnitsDone {
  const SequenceWork& sequence;
  int64_t tile;
  int64_t begin, end;
  int64_t slot;
  int64_t round;
};

// Merges them onto what the round before left, if anything. Finishes the tile
// or leaves it to the next round.
void MergeUnits(const AttentionRun& run, const UnitsDone& units, int worker) {
  const SequenceWork& sequence = units.sequence;
  TileWork work;
  if (!OpenTile(run, sequence, units.tile, TileBase(run, worker), &work)) {
    return;
  }
  const auto carry = [&](int64_t of_round, int64_t which) {
    return AreasOf(run).carries +
           (of_round % 2 * 2 + which) * (run.plan.carries_bytes / kCarries);
  };
  GroupChain chain(*work.item.kernel, &work.tile);
  if (units.begin > 0) {
    const int64_t number = GroupOf(sequence, units.begin - 1);
    const bool several = number != GroupOf(sequence, 0);
    chain.Resume(several ? carry(units.round, 0) : nullptr,
                 carry(units.round, 1), number);
  }
  for (int64_t i = units.begin; i < units.end; ++i) {
    chain.Add(SlotAt(run, units.slot + i - units.begin), GroupOf(sequence, i));
  }
  if (units.end == sequence.num_units && IsShared(sequence)) {
    FinishShared(run, sequence, TileBase(run, worker), chain.total(),
                 chain.group(), &work);
    return;
  }
  if (units.end == sequence.num_units) {
    work.tile.state = chain.Finish();
    FinishTile(run, &work);
    return;
  }
  const size_t bytes = static_cast<size_t>(run.slot_bytes);
  if (chain.total() != nullptr) {
    std::memmove(carry(units.round + 1, 0), chain.total(), bytes);
  }
  std::memmove(carry(units.round + 1, 1), chain.group(), bytes);
}

}  // namespace

void PrepareWorkspace(const AttentionRun& run) {
  if (run.split_items == 0 || run.barriers) return;
  std::memset(AreasOf(run).counters, 0,
              static_cast<size_t>(run.split_tiles) * sizeof(int32_t));
}

namespace {

// Tiles through all their keys, from open to finished.
void RunOpened(const AttentionRun& run, const SequenceWork& sequence,
               const Tiles& tiles, int worker) {
  bool any = false;
  for (int64_t i = 0; i < sequence.num_units; ++i) {
    // The last state is the chain's later span; with two groups of spans there
    // are three.
    const int group = any ? 1 : 0;
    if (!AttendUnit(run, sequence, UnitAt(sequence, i), group, group + 1,
                    tiles)) {
      continue;
    }
    if (IsShared(sequence) && i + 1 == sequence.num_units) {
      TileWork* work = tiles.work;
      void* const* states = work->memory.states;
      return FinishShared(run, sequence, TileBase(run, worker),
                          any ? states[0] : nullptr, states[group], work);
    }
    if (any) MergeState(tiles, 0, group);
    any = true;
  }
  UseState(tiles, 0);
  for (TileWork* work = tiles.work; work != tiles.work + tiles.count; ++work) {
    if (!any) work->item.kernel->clear(work->tile);
    FinishTile(run, work);
  }
}

void RunTile(const AttentionRun& run, const SequenceWork& sequence,
             int64_t tile, int worker, TileWork* work) {
  if (!OpenNextTile(run, sequence, tile, TileBase(run, worker), work)) return;
  PackTile(run, work);
  RunOpened(run, sequence, {work, 1}, worker);
}

// As single tiles of the decode kernel, which are never without rows.
void RunTogether(const AttentionRun& run, const SequenceWork& sequence,
                 int64_t tile, int64_t count, int worker) {
  TileWork work[kMostTogether];
  char* base = static_cast<char*>(TileBase(run, worker));
  for (int64_t i = 0; i < count; ++i) {
    OpenTile(run, sequence, tile + i, base, work + i);
    PackTile(run, work + i);
    base += TileTogetherBytes(run.plan);
  }
  RunOpened(run, sequence, {work, count}, worker);
}

}  // namespace

void RunWhole(const AttentionRun& run, int64_t task, int worker) {
  const SequenceWork& sequence = SequenceOfTask(run, task);
  const int64_t first = (task - sequence.first_task) * sequence.tiles_per_task;
  const int64_t last =
      std::min(first + sequence.tiles_per_task, NumTiles(sequence));
  const int64_t together = sequence.together;
  TileWork work = TileWork();
  for (int64_t tile = first; tile < last; tile += together) {
    if (together == 1) {
      RunTile(run, sequence, tile, worker, &work);
    } else {
      RunTogether(run, sequence, tile, together, worker);
    }
  }
}

void RunUnit(const AttentionRun& run, int64_t item, int64_t slot, int worker) {
  const UnitItem at = ItemAt(run, item);
  TileWork work;
  if (!OpenTile(run, at.sequence, at.tile, TileBase(run, worker), &work)) {
    return;
  }
  PackTile(run, &work);
  const int64_t unit = UnitAt(at.sequence, at.index);
  // The slot is the chain's state, and what was that the later span's.
  constexpr int kSlot = 1;
  work.memory.states[kSlot] = SlotAt(run, slot);
  if (!AttendUnit(run, at.sequence, unit, kSlot, 0, {&work, 1})) {
    work.item.kernel->clear(work.tile);
  }
}

void RunMerge(const AttentionRun& run, int64_t round, int64_t i, int worker) {
  const ItemRange items = RoundItems(run, round);
  const int64_t number = RoundTiles(run, items).first + i;
  const SequenceWork& sequence = SequenceOfTile(run, number);
  const int64_t tile = number - sequence.first_tile;
  const int64_t tile_first = sequence.first_item + tile * sequence.num_units;
  const int64_t begin = std::max(items.first, tile_first);
  const int64_t end = std::min(items.last, tile_first + sequence.num_units);
  MergeUnits(run,
             {sequence, tile, begin - tile_first, end - tile_first,
              begin - items.first, round},
             worker);
}

void RunUnitAndMerge(const AttentionRun& run, int64_t item, int worker) {
  RunUnit(run, item, item, worker);
  const UnitItem at = ItemAt(run, item);
  const SequenceWork& sequence = at.sequence;
  std::atomic_ref<int32_t> done(
      AreasOf(run).counters[sequence.first_tile + at.tile]);
  // Releases this unit's state, and acquires the others'.
  if (done.fetch_add(1, std::memory_order_acq_rel) + 1 != sequence.num_units) {
    return;
  }
  MergeUnits(
      run,
      {sequence, at.tile, 0, sequence.num_units, item - at.index, /*round=*/0},
      worker);
}

}  // namespace heed::internal
