// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the key blocks that hold the most attention: what a choice of so
// many blocks can keep at best. It computes all scores first, so it is a
// yardstick and no speed-up.
//
// The mass of a block, for the query rows that select together, is the sum over
// rows and keys of softmax(scores)[row][key], all keys that the row sees
// counting. Kept anyway, within total_blocks, are the first block, those at the
// rows' own positions and those that a mask cuts for some of the rows, as in
// block_topk.
#include <heed/estimators.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    sparse::kBlockKnob,
    sparse::kTotalBlocksKnob,
};

Status RunVariant(const VariantArgs& a) {
  const int64_t block = static_cast<int64_t>(a.knobs[0]);
  sparse::TrueMasses masses;
  if (!masses.Prepare(a, block)) return sparse::OutOfMemory();
  return sparse::AttendBlocks(
      a, {block, block}, sparse::TopK{static_cast<int64_t>(a.knobs[1])},
      [&](const sparse::BlockRows& rows, float* to) { masses.Of(rows, to); });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t block = static_cast<int64_t>(knobs[0]);
  const sparse::BlockCounts counts =
      sparse::CountBlocks(shape, params, {block, block}, knobs[1]);
  Cost cost = ops::SoftmaxCost(shape, counts.pairs, counts.key_rows);
  cost.AddSelecting(
      2 * ops::VisiblePairs(shape, params) *
          static_cast<double>(shape.batch * shape.num_heads * shape.head_dim),
      0);
  return cost;
}

}  // namespace

Variant oracle_topk() {
  return {.summary = "The key blocks that hold the most attention.",
          .paper = "none: an upper bound for choices of blocks",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
