// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the key blocks that hold a share of the attention, as sums along
// antidiagonals estimate it: XAttention (Xu et al. 2025, arXiv:2503.16428).
// sparse::Antidiagonals has the estimate. Per query head and query block, kept
// are the first block, those at the rows' own positions and those that a mask
// cuts for some of the rows, and then, the heaviest first, as many as it takes
// for the mass of all that are kept to reach the threshold; the block that
// crosses it is kept. `pattern` and `selector` are the paper's ablations.
//
// reference_quirks: the paper's code keeps the first query block's row where it
// means the first key block's column; masks antidiagonals of diagonal tiles not
// at all, so that half of their pairs lie in the future; and takes one batch.
#include <heed/estimators.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "threshold",
     .summary = "Estimated attention to keep, of a query block.",
     .default_value = 0.9,
     .min = 0,
     .max = 1,
     .integer = false,
     .has_exact = true,
     .exact_value = 1},
    {.name = "block",
     .summary = "Keys a block, and query rows that select together.",
     .default_value = 128,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "stride",
     .summary = "Rows and keys of a tile that is estimated; divides block.",
     .default_value = 16,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "pattern",
     .summary = "Pairs of a tile. 0: antidiagonal; 1: diagonal; 2: drawn.",
     .default_value = 0,
     .min = 0,
     .max = 2,
     .integer = true},
    {.name = "selector",
     .summary = "What threshold is a share of. 0: the mass; 1: the blocks that "
                "a query block sees; 2: all key blocks, for each query block.",
     .default_value = 0,
     .min = 0,
     .max = 2,
     .integer = true},
};

// The paper's three selectors: by threshold, by ratio, and top-k.
struct Select {
  double share;
  int selector;
  int64_t key_blocks;

  void operator()(const sparse::BlockChoice& choice) const {
    if (selector == 0) return sparse::TopP{share}(choice);
    const double of =
        static_cast<double>(selector == 1 ? choice.count : key_blocks);
    sparse::TopK{static_cast<int64_t>(std::ceil(share * of))}(choice);
  }
};

Status RunVariant(const VariantArgs& a) {
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  const int64_t stride = static_cast<int64_t>(a.knobs[2]);
  if (block % stride != 0) {
    return Status(StatusCode::kInvalidArgument, "stride", "must divide block")
        .WithValue(block)
        .WithBound(stride, BoundKind::kOver);
  }
  sparse::Antidiagonals masses;
  if (!masses.Prepare(a, {block, block}, stride,
                      static_cast<sparse::TilePairs>(a.knobs[3]))) {
    return sparse::OutOfMemory();
  }
  const Select select = {a.knobs[0], static_cast<int>(a.knobs[4]),
                         (a.args.key.seqlen() + block - 1) / block};
  return sparse::AttendBlocks(
      a, {block, block}, select,
      [&](const sparse::BlockRows& rows, float* to) { masses.Of(rows, to); });
}

// The most that it can be: how many blocks hold the share, data say.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double pairs = ops::VisiblePairs(shape, params);
  const double batch = static_cast<double>(shape.batch);
  const double dim = static_cast<double>(shape.head_dim);
  const double keys =
      batch * dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(shape, pairs);
  // Keys are read again, copied, and the copy read.
  cost.AddSelecting(
      2 * batch * dim * static_cast<double>(shape.num_heads) * pairs / knobs[2],
      4 * 3 * keys);
  return cost;
}

}  // namespace

Variant xattention() {
  return {.summary = "The key blocks that antidiagonal sums find heaviest.",
          .paper = "Xu et al. 2025, arXiv:2503.16428",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 5,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
