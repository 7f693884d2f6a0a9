// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/work.h"

#include <algorithm>

#include "lib/core/layout.h"
#include "lib/core/visible.h"

namespace heed::internal {
namespace {

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// Tiles of a list but for its rest.
int64_t WholeTiles(const AttentionRun& run) {
  return run.tiles_per_list - (run.rest_rows != 0 ? 1 : 0);
}

// Sets the lists. Returns the rows of one.
int64_t LayOutLists(AttentionRun* run) {
  const AttentionArgs& args = run->args;
  const AttentionShape& shape = run->plan.shape;
  const int64_t block = args.key_intervals.query_block_size;
  if (block == 0) {
    run->num_lists = args.query.batch() * shape.num_kv_heads;
    return args.query.seqlen() * (shape.num_heads / shape.num_kv_heads);
  }
  run->num_lists = args.query.batch() * shape.num_heads *
                   CeilDiv(args.query.seqlen(), block);
  return std::min(block, args.query.seqlen());
}

// The rows of a list that are left to the decode kernel.
int64_t RestRows(const AttentionRun& run, int64_t rows, int64_t lanes) {
  // A row's bits must not depend on how many stand beside it.
  if (run.kernel->same_bits != run.plan.table->decode.same_bits) return 0;
  // Query blocks differ in their rows, and the units of split tiles may not.
  if (run.args.key_intervals.query_block_size != 0) return 0;
  if (run.workers > 1 && run.args.key.seqlen() > kSpanKeys) return 0;
  const int64_t rest = rows % lanes;
  const int64_t most =
      std::min<int64_t>(run.plan.decode_rows, MostRestRows(lanes));
  return rest < rows && rest <= most ? rest : 0;
}

// Sets the kernel, the rows of a tile and the tiles of each list.
void LayOutTiles(int64_t rows, AttentionRun* run) {
  const Plan& plan = run->plan;
  if (rows <= plan.decode_rows) {
    run->kernel = &plan.table->decode;
    run->tile_rows = static_cast<int32_t>(rows);
    run->tiles_per_list = 1;
    return;
  }
  run->kernel = plan.attend;
  const int64_t lanes = run->kernel->lanes();
  run->rest_rows = static_cast<int32_t>(RestRows(*run, rows, lanes));
  rows -= run->rest_rows;
  const int64_t group_rows = GroupRows(plan);
  const int64_t want = run->workers > 1 ? kTilesPerWorker * run->workers : 1;
  int64_t tile_rows = plan.tile_rows;
  const auto tiles = [&] { return CeilDiv(rows, tile_rows); };
  while (tile_rows > group_rows && tiles() * run->num_lists < want) {
    tile_rows = std::max(RoundUp(tile_rows / 2, group_rows), group_rows);
  }
  run->tiles_per_list = tiles();
  // Evened out, so that the last tile is not a small one.
  run->tile_rows =
      static_cast<int32_t>(RoundUp(CeilDiv(rows, run->tiles_per_list), lanes));
  if (run->rest_rows != 0) ++run->tiles_per_list;
}

// Sets the units that some row sees, each of `spans` spans.
void LayOutUnits(int64_t spans, AttentionRun* run) {
  const int64_t keys = spans * kSpanKeys;
  const int64_t seqlen_q = run->args.query.seqlen();
  const int64_t seqlen_k = run->args.key.seqlen();
  run->unit_spans = spans;
  run->sink_units = 0;
  run->first_unit = 0;
  run->num_units = CeilDiv(seqlen_k, keys);
  if (run->args.key_intervals.query_block_size != 0) return;
  // A later row's limits never lie before an earlier one's.
  const auto limits = [&](int64_t row) {
    return LimitsOf(run->plan.params, run->causal_offset, seqlen_k, row);
  };
  const RowLimits first = limits(0);
  const RowLimits last = limits(seqlen_q - 1);
  // Sinks may reach beyond the window's right edge.
  const int64_t end = std::max({last.end, last.sink_end, first.begin});
  run->first_unit = first.begin / keys;
  run->sink_units = std::min(CeilDiv(last.sink_end, keys), run->first_unit);
  run->num_units = run->sink_units + CeilDiv(end, keys) - run->first_unit;
}

// Keys that the row in the middle sees, where rows see different ones.
int32_t UnevenKeys(const AttentionRun& run) {
  const AttentionParams& params = run.plan.params;
  if (SameForAllRows(params)) return 0;
  const RowLimits middle =
      LimitsOf(params, run.causal_offset, run.args.key.seqlen(),
               run.args.query.seqlen() / 2);
  const int64_t keys =
      std::max<int64_t>(middle.end - middle.begin, 0) + middle.sink_end;
  return static_cast<int32_t>(std::clamp<int64_t>(keys, 1, INT32_MAX));
}

}  // namespace

void LayOutWork(AttentionRun* run) {
  run->uneven_keys = UnevenKeys(*run);
  const int64_t rows = LayOutLists(run);
  LayOutTiles(rows, run);
  run->num_phases = 1;
  run->slot_bytes =
      run->kernel->state_bytes(TileShapeOf(run->plan, run->tile_rows));
  run->num_slots =
      run->workers > 1
          ? run->workers * std::min(run->plan.slots_bytes / run->slot_bytes,
                                    kMaxSlotsPerWorker)
          : 0;
  const int64_t tiles = NumTiles(*run);
  LayOutUnits(1, run);
  run->split = run->workers > 1 && run->num_units > 1 &&
               tiles < kSplitTilesPerWorker * run->workers;
  if (run->split && run->barriers) {
    run->num_phases =
        static_cast<int32_t>(2 * CeilDiv(NumItems(*run), run->num_slots));
    return;
  }
  if (run->split && NumItems(*run) <= run->num_slots) return;
  // Without barriers every state needs a slot: whole groups of spans need
  // fewer. An unsplit tile passes through groups too.
  LayOutUnits(kGroupSpans, run);
  run->split =
      run->split && run->num_units > 1 && NumItems(*run) <= run->num_slots;
  if (run->split) return;
  const int64_t whole = WholeTiles(*run);
  run->position_major = run->workers > 1 && whole > 1 &&
                        tiles < kBalancedTilesPerWorker * run->workers;
  if (run->workers > 1 && whole == 1) {
    run->tiles_per_task =
        std::max<int64_t>(tiles / (kTasksPerWorker * run->workers), 1);
  }
}

WorkItem TileAt(const AttentionRun& run, int64_t tile) {
  const AttentionArgs& args = run.args;
  const AttentionShape& shape = run.plan.shape;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  WorkItem item;
  int64_t index;
  if (run.position_major) {
    item.list = tile % run.num_lists;
    index = tile / run.num_lists;
  } else {
    item.list = tile / run.tiles_per_list;
    index = tile % run.tiles_per_list;
  }
  const int64_t whole_tiles = WholeTiles(run);
  int64_t rows;
  const int64_t block = args.key_intervals.query_block_size;
  if (block == 0) {
    item.batch = item.list / shape.num_kv_heads;
    item.kv_head = item.list % shape.num_kv_heads;
    item.head = item.kv_head * group;
    item.first_position = 0;
    item.group_size = group;
    rows = args.query.seqlen() * group;
  } else {
    const int64_t blocks =
        run.num_lists / (args.query.batch() * shape.num_heads);
    const int64_t head = item.list / blocks;
    item.batch = head / shape.num_heads;
    item.head = head % shape.num_heads;
    item.kv_head = item.head / group;
    item.first_position = item.list % blocks * block;
    item.group_size = 1;
    rows = std::min(block, args.query.seqlen() - item.first_position);
  }
  rows -= run.rest_rows;
  if (index == whole_tiles) {
    item.kernel = &run.plan.table->decode;
    item.first_row = rows;
    item.num_rows = run.rest_rows;
    return item;
  }
  item.kernel = run.kernel;
  // Late tiles first: under a causal mask they are the longest.
  item.first_row = (whole_tiles - 1 - index) * run.tile_rows;
  item.num_rows = static_cast<int32_t>(
      std::clamp<int64_t>(rows - item.first_row, 0, run.tile_rows));
  return item;
}

ItemRange RoundItems(const AttentionRun& run, int64_t round) {
  const int64_t first = round * run.num_slots;
  return {first, std::min(first + run.num_slots, NumItems(run))};
}

}  // namespace heed::internal
