// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The work of a ragged call: sequences of any lengths become tasks that are
// small against a worker's share of all (row, key) pairs, the heaviest first.
#include <algorithm>
#include <cstdint>

#include "lib/core/heads_together.h"
#include "lib/core/lay_out.h"
#include "lib/core/shared_prefix.h"

namespace heed::internal {
namespace {

// The keys that rows of a sequence see: the most, and in the middle.
struct SeenKeys {
  double most, mean;
};

SeenKeys KeysSeen(const AttentionRun& run, const Sequence& sequence) {
  const auto seen = [&](int64_t row) {
    const RowLimits limits = LimitsOf(run, sequence, row);
    const int64_t window = std::max<int64_t>(limits.end - limits.begin, 0);
    const int64_t sinks = std::min(limits.sink_end, limits.begin);
    return static_cast<double>(window + sinks);
  };
  const double first = seen(0);
  const double middle = seen(sequence.seqlen_q / 2);
  const double last = seen(sequence.seqlen_q - 1);
  return {std::max({first, middle, last}), (first + 4 * middle + last) / 6};
}

// Lays one sequence out. `share` is a worker's share of the call's pairs.
void LayOutSequence(const AttentionRun& run, double share, SequenceWork* work) {
  const Sequence sequence = SequenceOf(run, work->sequence);
  const int64_t rows = RowsOf(run, sequence);
  const double keys = KeysSeen(run, sequence).most;
  const auto weight = [&](int64_t tile_rows) {
    return WeightOf(static_cast<double>(std::min(tile_rows, rows)), keys);
  };
  work->num_lists = run.plan.shape.num_kv_heads;
  work->uneven_keys = UnevenKeys(run, sequence);
  LayOutTiles(run, sequence, rows, work, [&](int64_t tile_rows, int64_t) {
    return run.workers == 1 || weight(tile_rows) * kTilesPerWorker <= share;
  });
  const double of_tile = weight(work->tile_rows);
  work->weight = static_cast<float>(of_tile);
  LayOutUnits(run, sequence, 1, work);
  // So heavy a tile has been cut to a lane group: its states fit the slots.
  static_assert(kSplitTilesPerWorker <= kTilesPerWorker);
  work->split = run.workers > 1 && work->num_units > 1 &&
                of_tile * kSplitTilesPerWorker > share;
  if (work->split) return;
  LayOutUnits(run, sequence, kGroupSpans, work);
  if (WholeTiles(*work) > 1) return;
  // Neighbouring heads in one task, as far as it stays small.
  const double tasks = share / (of_tile * kRaggedTasksPerWorker);
  work->tiles_per_task = static_cast<int64_t>(
      std::clamp(tasks, 1.0, static_cast<double>(NumTiles(*work))));
  // Half a worker's share at most, where there are several.
  const double most =
      run.workers == 1 ? double{kMostTogether} : share / (2 * of_tile);
  KeepTogether(run, static_cast<int64_t>(std::min(most, double{kMostTogether})),
               work);
}

// Without barriers every state needs a slot: the heaviest sequences have them,
// by spans or, where those are too many, by groups of spans.
void KeepToSlots(const AttentionRun& run, SequenceWork* first,
                 SequenceWork* last) {
  int64_t left = run.num_slots;
  for (SequenceWork* work = first; work != last && work->split; ++work) {
    if (NumItems(*work) > left) {
      if (IsShared(*work)) {
        LayOutSharedUnits(kGroupSpans, work);
      } else {
        LayOutUnits(run, SequenceOf(run, work->sequence), kGroupSpans, work);
      }
      work->split = work->num_units > 1 && NumItems(*work) <= left;
    }
    if (work->split) left -= NumItems(*work);
  }
}

bool Before(const SequenceWork& a, const SequenceWork& b) {
  if (a.split != b.split) return a.split;
  const double weight_a = double{a.weight} * double(a.tiles_per_task);
  const double weight_b = double{b.weight} * double(b.tiles_per_task);
  if (weight_a != weight_b) return weight_a > weight_b;
  return a.sequence < b.sequence;
}

// Numbers tiles, items and tasks on, in the order of the sequences.
void Number(SequenceWork* first, SequenceWork* last, AttentionRun* run) {
  int64_t tiles = 0;
  for (SequenceWork* work = first; work != last; ++work) {
    if (!work->split) tiles += NumTiles(*work);
  }
  for (SequenceWork* work = first; work != last; ++work) {
    work->first_tile = run->split_tiles;
    work->first_item = run->split_items;
    work->first_task = run->whole_tasks;
    if (work->split) {
      ++run->num_split;
      run->split_tiles += NumTiles(*work);
      run->split_items += NumItems(*work);
    } else {
      work->position_major = run->workers > 1 && WholeTiles(*work) > 1 &&
                             tiles < kBalancedTilesPerWorker * run->workers;
      run->whole_tasks += NumTasks(*work);
    }
  }
}

}  // namespace

void LayOutRagged(AttentionRun* run) {
  SequenceWork* const first = static_cast<SequenceWork*>(run->workspace.data);
  SequenceWork* last = first;
  double pairs = 0;
  SharedRuns shared(*run);
  for (int64_t s = 0; s < run->args.ragged.num_sequences;) {
    *last = shared.At(s);
    const int64_t count = std::max<int64_t>(last->sharers, 1);
    const double keys = static_cast<double>(last->shared_spans * kSpanKeys);
    int64_t rows = 0;
    for (int64_t i = s; i < s + count; ++i) {
      const Sequence sequence = SequenceOf(*run, i);
      if (sequence.seqlen_q == 0) continue;
      rows += RowsOf(*run, sequence);
      pairs += WeightOf(static_cast<double>(RowsOf(*run, sequence)),
                        KeysSeen(*run, sequence).mean - keys);
    }
    if (last->sharers > 0) pairs += WeightOf(static_cast<double>(rows), keys);
    if (rows > 0) ++last;
    s += count;
  }
  const double share =
      pairs * static_cast<double>(run->plan.shape.num_kv_heads) / run->workers;
  run->slot_bytes = 1;
  for (SequenceWork* work = first; work != last; ++work) {
    if (IsShared(*work)) {
      LayOutShared(*run, share, work);
    } else {
      LayOutSequence(*run, share, work);
    }
    if (!work->split) continue;
    run->slot_bytes = std::max(
        run->slot_bytes,
        work->kernel->state_bytes(TileShapeOf(run->plan, work->tile_rows)));
  }
  run->num_slots =
      run->workers *
      std::min(run->plan.slots_bytes / run->slot_bytes, kMaxSlotsPerWorker);
  if (run->workers > 1) std::sort(first, last, Before);
  if (!run->barriers) {
    KeepToSlots(*run, first, last);
    std::sort(first, last, Before);
  }
  run->sequences = first;
  run->num_sequences = last - first;
  Number(first, last, run);
  const int64_t rounds =
      run->split_items == 0 ? 0 : CeilDiv(run->split_items, run->num_slots);
  run->num_phases = static_cast<int32_t>(
      run->barriers ? std::max<int64_t>(2 * rounds, 1) : 1);
}

}  // namespace heed::internal
