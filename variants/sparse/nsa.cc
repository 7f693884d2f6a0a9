// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the blocks of keys to which the row pays most in a
// compressed view, and to a window: the selected branch of native sparse
// attention, beside its window (Yuan et al. 2025, arXiv:2502.11089), the heads
// of a group to the same. Every compress_stride keys a window of
// compress_block of them is averaged; a row weighs those that it sees whole by
// softmax. A block scores the weights of the windows on it: each window counts
// once for every stride of it that lies in the block, summed over the heads of
// the group. The first block and the row's own and the one before it are always
// kept and count in select_count; the others are those that score highest, the
// first of equal ones. Blocks are cut from key 0 on.
//
// The paper attends to means, blocks and window by themselves, and adds the
// three by trained gates. Without gates, blocks and window are one softmax
// here, over each key once, and the means choose only. The paper's map to
// compressed keys is trained, too; here it is the mean.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "select_count",
     .summary = "Blocks that a row keeps, forced ones included.",
     .default_value = 16,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "select_block",
     .summary = "Keys of a block; a multiple of compress_stride.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "compress_block",
     .summary = "Keys that are averaged; a multiple of compress_stride.",
     .default_value = 32,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "compress_stride",
     .summary = "Keys from one average to the next.",
     .default_value = 16,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "window",
     .summary = "Latest keys that a row sees besides.",
     .default_value = 512,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

Status MustDivide(const char* argument, double of, double stride) {
  return Status(StatusCode::kInvalidArgument, argument,
                "must be a multiple of compress_stride")
      .WithValue(static_cast<int64_t>(of))
      .WithBound(static_cast<int64_t>(stride), BoundKind::kOver);
}

Status RunVariant(const VariantArgs& a) {
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  const int64_t kernel = static_cast<int64_t>(a.knobs[2]);
  const int64_t stride = static_cast<int64_t>(a.knobs[3]);
  if (block % stride != 0) {
    return MustDivide("select_block", a.knobs[1], a.knobs[3]);
  }
  if (kernel % stride != 0) {
    return MustDivide("compress_block", a.knobs[2], a.knobs[3]);
  }
  const int64_t keys = a.args.key.seqlen();
  const int64_t blocks = (keys + block - 1) / block;
  sparse::CompressedKeys compressed;
  if (!compressed.Prepare(a, kernel, stride)) return sparse::OutOfMemory();
  const int64_t own = compressed.windows() + blocks;
  float* floats = a.scratch.Array<float>(a.executor.max_workers * own);
  if (floats == nullptr) return sparse::OutOfMemory();
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    float* weight = floats + row.worker * own;
    float* score = weight + compressed.windows();
    std::fill(score, score + blocks, 0.0f);
    const int64_t count = compressed.Weigh(row, weight);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t part = 0; part < kernel / stride; ++part) {
        score[(i + part) * stride / block] += weight[i];
      }
    }
    const int64_t local = row.position >= 0 ? row.position / block : -1;
    for (const int64_t j : {int64_t{0}, local - 1, local}) {
      if (j >= 0 && j < blocks) score[j] = INFINITY;
    }
    choice->KeepTop(row, block, score, static_cast<int64_t>(a.knobs[0]));
    choice->Keep(row.position + 1 - static_cast<int64_t>(a.knobs[4]),
                 row.position + 1);
  };
  return sparse::AttendRows(a, sparse::ListOf::kGroup, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double pooled =
      dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  // Three blocks are kept however few are asked for.
  const double keys = std::max(knobs[0], 3.0) * knobs[1] + knobs[4];
  Cost cost =
      ops::SoftmaxCost(shape, sparse::CountRowPairs(shape, params, keys));
  cost.at_most = true;
  cost.AddSelecting(2 * dim * static_cast<double>(shape.num_heads) *
                            ops::VisiblePairs(shape, params) / knobs[3] +
                        pooled * knobs[2] / knobs[3],
                    4 * pooled);
  return cost;
}

}  // namespace

Variant nsa() {
  return {.summary =
              "For each row of a group, the blocks that a compressed view "
              "finds heaviest, and a window.",
          .paper = "Yuan et al. 2025, arXiv:2502.11089",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 5,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
