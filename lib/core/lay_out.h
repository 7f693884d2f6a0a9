// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What laying out a call and laying out its sequences share.
#ifndef HEED_LIB_CORE_LAY_OUT_H_
#define HEED_LIB_CORE_LAY_OUT_H_

#include <algorithm>
#include <cstdint>

#include "heed/attention.h"
#include "lib/core/layout.h"
#include "lib/core/row_limits.h"
#include "lib/core/sequences.h"
#include "lib/core/work.h"

namespace heed::internal {

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// Tiles of a list but for its rest.
inline int64_t WholeTiles(const SequenceWork& work) {
  return work.tiles_per_list - (work.rest_rows != 0 ? 1 : 0);
}

// The rows of a list that are left to the decode kernel.
int64_t RestRows(const AttentionRun& run, const Sequence& sequence,
                 int64_t rows);

// Sets the kernel, the rows of a tile and the tiles of each list of `rows`
// rows. Lane groups are dropped until `enough(tile_rows, tiles)`.
template <typename Enough>
void LayOutTiles(const AttentionRun& run, const Sequence& sequence,
                 int64_t rows, SequenceWork* work, Enough enough) {
  const Plan& plan = run.plan;
  if (rows <= plan.decode_rows) {
    work->kernel = &plan.table->decode;
    work->tile_rows = static_cast<int32_t>(rows);
    work->tiles_per_list = 1;
    return;
  }
  work->kernel = plan.attend;
  work->rest_rows = static_cast<int32_t>(RestRows(run, sequence, rows));
  rows -= work->rest_rows;
  const int64_t group_rows = GroupRows(plan);
  int64_t tile_rows = plan.tile_rows;
  const auto tiles = [&] { return CeilDiv(rows, tile_rows); };
  while (tile_rows > group_rows && !enough(tile_rows, tiles())) {
    tile_rows = std::max(RoundUp(tile_rows / 2, group_rows), group_rows);
  }
  work->tiles_per_list = tiles();
  // Evened out, so that the last tile is not a small one.
  work->tile_rows = static_cast<int32_t>(RoundUp(
      CeilDiv(rows, work->tiles_per_list), int64_t{work->kernel->lanes()}));
  if (work->rest_rows != 0) ++work->tiles_per_list;
}

// Keys that some row of a sequence sees, where limits are not data: [begin,
// end), and [0, sink_end), which may reach into them.
struct SeenKeys {
  int64_t begin, end, sink_end;
  int64_t count() const { return end - begin + std::min(sink_end, begin); }
};
SeenKeys SeenKeysOf(const AttentionRun& run, const Sequence& sequence);

// Sets the units that some row sees, each of `spans` spans.
void LayOutUnits(const AttentionRun& run, const Sequence& sequence,
                 int64_t spans, SequenceWork* work);

// Keys that the row in the middle sees, where rows see different ones.
int32_t UnevenKeys(const AttentionRun& run, const Sequence& sequence);

// LayOutWork for a ragged call: lay_out_ragged.cc.
void LayOutRagged(AttentionRun* run);

// (row, key) pairs of a tile, which has this many rows at least, as reading the
// keys of fewer takes as long.
inline double WeightOf(double rows, double keys) {
  return std::max(rows, kLeastTileRows) * std::max(keys, 1.0);
}

inline int64_t RowsOf(const AttentionRun& run, const Sequence& sequence) {
  const AttentionShape& shape = run.plan.shape;
  return sequence.seqlen_q * (shape.num_heads / shape.num_kv_heads);
}

// Prefixes that are shared: lay_out_shared.cc. Goes through the sequences of a
// call in order.
class SharedRuns {
 public:
  explicit SharedRuns(const AttentionRun& run);
  // The work of sequence `index`, and of those after it that share with it:
  // then work->sharers, shared_spans and tile_rows are set, tile_rows to the
  // most rows of one.
  SequenceWork At(int64_t index);

 private:
  int64_t SpansOf(int64_t index) const;

  const AttentionRun& run_;
  const SharedPrefix* next_;
  const SharedPrefix* end_;
  int64_t most_rows_;  // of a sequence that shares
};

// Lays out what SharedRuns found. `share` is a worker's share of the call's
// pairs.
void LayOutShared(const AttentionRun& run, double share, SequenceWork* work);
void LayOutSharedUnits(int64_t spans, SequenceWork* work);

// A sequence that shares, as the work of its own keys: one tile a list.
SequenceWork OwnWork(const AttentionRun& run, int64_t index);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_LAY_OUT_H_
