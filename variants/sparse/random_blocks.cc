// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to key blocks drawn at random: the control that every choice of
// blocks at the same budget must beat. Kept anyway are the blocks that
// block_topk keeps whatever they score: the first, those at the rows' own
// positions, and those that a mask cuts for some of the rows; all count towards
// total_blocks.
//
// What is drawn depends on the seed, the head and the two blocks alone, so it
// is the same in every layer and on every machine.
#include <heed/estimators.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    sparse::kBlockKnob,
    sparse::kTotalBlocksKnob,
    sparse::kSeedKnob,
};

Status RunVariant(const VariantArgs& a) {
  const int64_t block = static_cast<int64_t>(a.knobs[0]);
  const int64_t seed = static_cast<int64_t>(a.knobs[2]);
  const auto score = [&](const sparse::BlockRows& rows, float* to) {
    for (int64_t j = 0; j < rows.num_blocks; ++j) {
      to[j] = sparse::DrawOf(seed, rows.head, rows.index, j);
    }
  };
  const sparse::TopK select = {static_cast<int64_t>(a.knobs[1])};
  return sparse::AttendBlocks(a, {block, block}, select, score);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t block = static_cast<int64_t>(knobs[0]);
  const sparse::BlockCounts counts =
      sparse::CountBlocks(shape, params, {block, block}, knobs[1]);
  return ops::SoftmaxCost(shape, counts.pairs, counts.key_rows);
}

}  // namespace

Variant random_blocks() {
  return {.summary = "Key blocks drawn at random: the control.",
          .paper = "none: the baseline of any selection",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
