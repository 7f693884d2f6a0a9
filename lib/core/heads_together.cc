// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/heads_together.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "lib/core/layout.h"
#include "lib/core/sequences.h"
#include "lib/core/tuning.h"
#include "lib/core/work.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

// The heads whose rows of a token fit kTogetherBytes, where they stand nearer
// than the rows of a head do.
int64_t Neighbours(const ConstTensorView& rows, bool in_pages) {
  const int64_t head = std::abs(rows.stride[2]);
  // In pages of one row the tokens are pages.
  const bool single = in_pages && rows.seqlen() == 1;
  const int64_t token = std::abs(rows.stride[single ? 0 : 1]);
  if (head == 0 || (head >= token && token != 0)) return 1;
  return std::max<int64_t>(kTogetherBytes / head, 1);
}

}  // namespace

int64_t TileTogetherBytes(const Plan& plan) {
  Carver tile(nullptr);
  CarveTile(tile, plan.table->decode, TileShapeOf(plan, plan.decode_rows),
            plan.shape.seqlen_k);
  return Padded(tile.used());
}

int64_t TogetherBytes(const Plan& plan) {
  if (plan.decode_rows == 0) return 0;
  const int64_t tiles = std::min(kMostTogether, plan.shape.num_kv_heads);
  return std::min(tiles * TileTogetherBytes(plan), kMostTogetherBytes);
}

void KeepTogether(const AttentionRun& run, int64_t most, SequenceWork* work) {
  const Plan& plan = run.plan;
  const AttentionArgs& args = run.args;
  if (work->kernel != &plan.table->decode || work->tiles_per_list != 1 ||
      work->sharers != 0 || args.key_intervals.query_block_size != 0) {
    return;
  }
  const int64_t heads = plan.shape.num_kv_heads;
  most = std::min({most, kMostTogether, Neighbours(args.key, InPages(args)),
                   Neighbours(args.value, InPages(args)),
                   plan.tile_bytes / TileTogetherBytes(plan)});
  while (most > 1 && heads % most != 0) --most;
  if (most <= 1) return;
  work->together = static_cast<int8_t>(most);
  work->tiles_per_task = RoundUp(work->tiles_per_task, most);
}

}  // namespace heed::internal
