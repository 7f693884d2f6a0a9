// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/lay_out.h"

#include <algorithm>

#include "lib/core/heads_together.h"
#include "lib/core/parts.h"

namespace heed::internal {
namespace {

// Sets the lists. Returns the rows of one.
int64_t LayOutLists(AttentionRun* run) {
  const AttentionArgs& args = run->args;
  const AttentionShape& shape = run->plan.shape;
  const int64_t block = args.key_intervals.query_block_size;
  if (block == 0) {
    run->all.num_lists = args.query.batch() * shape.num_kv_heads;
    return args.query.seqlen() * (shape.num_heads / shape.num_kv_heads);
  }
  run->all.num_lists = args.query.batch() * shape.num_heads *
                       CeilDiv(args.query.seqlen(), block);
  return std::min(block, args.query.seqlen());
}

// Makes the units of tiles tasks of their own where that pays and their states
// have room. Returns whether it did.
bool LayOutSplit(const Sequence& sequence, AttentionRun* run) {
  SequenceWork* work = &run->all;
  const int64_t tiles = NumTiles(*work);
  run->slot_bytes =
      work->kernel->state_bytes(TileShapeOf(run->plan, work->tile_rows));
  run->num_slots =
      run->workers > 1
          ? run->workers * std::min(run->plan.slots_bytes / run->slot_bytes,
                                    kMaxSlotsPerWorker)
          : 0;
  LayOutUnits(*run, sequence, 1, work);
  if (run->workers > 1 && LayOutParts(sequence, run)) return true;
  bool split = run->workers > 1 && work->num_units > 1 &&
               tiles < kSplitTilesPerWorker * run->workers;
  if (split && (run->barriers || NumItems(*work) <= run->num_slots)) {
    return true;
  }
  // Without barriers every state needs a slot: whole groups of spans need
  // fewer. An unsplit tile passes through groups too.
  LayOutUnits(*run, sequence, kGroupSpans, work);
  return split && work->num_units > 1 && NumItems(*work) <= run->num_slots;
}

}  // namespace

int64_t RestRows(const AttentionRun& run, const Sequence& sequence,
                 int64_t rows) {
  const Plan& plan = run.plan;
  // A row's bits must not depend on how many stand beside it.
  if (plan.attend->same_bits != plan.table->decode.same_bits) return 0;
  // Query blocks differ in their rows, and the units of split tiles may not.
  if (run.args.key_intervals.query_block_size != 0) return 0;
  if (run.workers > 1 && sequence.seqlen_k > kSpanKeys) return 0;
  const int64_t lanes = plan.attend->lanes();
  const int64_t rest = rows % lanes;
  const int64_t most = std::min<int64_t>(plan.decode_rows, MostRestRows(lanes));
  return rest < rows && rest <= most ? rest : 0;
}

SeenKeys SeenKeysOf(const AttentionRun& run, const Sequence& sequence) {
  // A later row's limits never lie before an earlier one's.
  const RowLimits first = LimitsOf(run, sequence, 0);
  const RowLimits last = LimitsOf(run, sequence, sequence.seqlen_q - 1);
  // Sinks may reach beyond the window's right edge.
  return {first.begin, std::max({last.end, last.sink_end, first.begin}),
          last.sink_end};
}

void LayOutUnits(const AttentionRun& run, const Sequence& sequence,
                 int64_t spans, SequenceWork* work) {
  const int64_t keys = spans * kSpanKeys;
  work->unit_spans = spans;
  work->sink_units = 0;
  work->first_unit = 0;
  work->num_units = CeilDiv(sequence.seqlen_k, keys);
  if (run.args.key_intervals.query_block_size != 0) return;
  if (LimitsByData(run)) return;
  const SeenKeys seen = SeenKeysOf(run, sequence);
  work->first_unit = seen.begin / keys;
  work->sink_units = std::min(CeilDiv(seen.sink_end, keys), work->first_unit);
  work->num_units =
      work->sink_units + CeilDiv(seen.end, keys) - work->first_unit;
}

int32_t UnevenKeys(const AttentionRun& run, const Sequence& sequence) {
  if (SameWithinDocuments(run)) return 0;
  const RowLimits middle = LimitsOf(run, sequence, sequence.seqlen_q / 2);
  const int64_t keys =
      std::max<int64_t>(middle.end - middle.begin, 0) + middle.sink_end;
  return static_cast<int32_t>(std::clamp<int64_t>(keys, 1, INT32_MAX));
}

void LayOutWork(AttentionRun* run) {
  if (run->args.ragged.num_sequences != 0) return LayOutRagged(run);
  SequenceWork* work = &run->all;
  const Sequence sequence = SequenceOf(*run, 0);
  work->uneven_keys = UnevenKeys(*run, sequence);
  const int64_t rows = LayOutLists(run);
  const int64_t want = run->workers > 1 ? kTilesPerWorker * run->workers : 1;
  LayOutTiles(*run, sequence, rows, work, [&](int64_t, int64_t tiles) {
    return tiles * work->num_lists >= want;
  });
  run->num_phases = 1;
  const int64_t tiles = NumTiles(*work);
  if (LayOutSplit(sequence, run)) {
    if (InParts(*run)) {
      run->num_phases = kPartPhases;
      return;
    }
    run->num_split = 1;
    run->split_tiles = tiles;
    run->split_items = NumItems(*work);
    if (run->barriers) {
      run->num_phases =
          static_cast<int32_t>(2 * CeilDiv(run->split_items, run->num_slots));
    }
    return;
  }
  const int64_t whole = WholeTiles(*work);
  work->position_major = run->workers > 1 && whole > 1 &&
                         tiles < kBalancedTilesPerWorker * run->workers;
  if (whole == 1) {
    work->tiles_per_task =
        std::max<int64_t>(tiles / (kTasksPerWorker * run->workers), 1);
  }
  KeepTogether(*run, tiles / run->workers, work);
  run->whole_tasks = NumTasks(*work);
}

}  // namespace heed::internal
