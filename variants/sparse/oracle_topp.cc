// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the fewest key blocks that hold a share of the attention: what a
// choice by mass can keep at best. It computes all scores first, so it is a
// yardstick and no speed-up.
//
// The mass of a block, for the query rows that select together, is the sum over
// rows and keys of softmax(scores)[row][key], all keys that the row sees
// counting. Kept anyway are the first block, those at the rows' own positions
// and those that a mask cuts for some of the rows; their mass counts. The block
// that crosses the share is kept.
#include <heed/estimators.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "share",
     .summary = "Attention to keep, of the rows of a block together.",
     .default_value = 0.9,
     .min = 0,
     .max = 1,
     .integer = false,
     .has_exact = true,
     .exact_value = 1},
    sparse::kBlockKnob,
};

Status RunVariant(const VariantArgs& a) {
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  sparse::TrueMasses masses;
  if (!masses.Prepare(a, block)) return sparse::OutOfMemory();
  return sparse::AttendBlocks(
      a, {block, block}, sparse::TopP{a.knobs[0]},
      [&](const sparse::BlockRows& rows, float* to) { masses.Of(rows, to); });
}

// The most that it can be: how many blocks hold the share, data say.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* /*knobs*/) {
  const double pairs = ops::VisiblePairs(shape, params);
  Cost cost = ops::SoftmaxCost(shape, pairs);
  cost.AddSelecting(
      2 * pairs *
          static_cast<double>(shape.batch * shape.num_heads * shape.head_dim),
      0);
  return cost;
}

}  // namespace

Variant oracle_topp() {
  return {
      .summary = "The fewest key blocks that hold a share of the attention.",
      .paper = "none: an upper bound for choices of blocks",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 2,
      .cost = EstimateCost,
      .run = RunVariant,
      .selects_ahead = true};
}

}  // namespace heed::variants
