// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the blocks of keys that hold the best window of a
// compressed view: InfLLM v2 (Zhao et al. 2025, arXiv:2509.24663), the heads of
// a group to the same. Every kernel_stride keys a window of kernel_size of them
// is averaged; a row weighs those that it sees whole by softmax, summed over
// the heads of the group. A block scores the largest weight of the windows that
// touch it. The first init_blocks and those that touch the latest window_size
// keys are always kept and count in topk, as in the authors' code, whose
// default is 64 and the blocks of the window; the others are those that score
// highest, the first of equal ones. Blocks are cut from key 0 on. The paper
// stays dense below 8,192 keys, which is the caller's to do.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "topk",
     .summary = "Blocks that a row keeps, forced ones included.",
     .default_value = 96,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "block_size",
     .summary = "Keys of a block.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "kernel_size",
     .summary = "Keys that are averaged.",
     .default_value = 32,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "kernel_stride",
     .summary = "Keys from one average to the next.",
     .default_value = 16,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "init_blocks",
     .summary = "First blocks that are always kept.",
     .default_value = 1,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "window_size",
     .summary = "Latest keys whose blocks are always kept.",
     .default_value = 2048,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

Status RunVariant(const VariantArgs& a) {
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  const int64_t kernel = static_cast<int64_t>(a.knobs[2]);
  const int64_t stride = static_cast<int64_t>(a.knobs[3]);
  const int64_t window = static_cast<int64_t>(a.knobs[5]);
  const int64_t keys = a.args.key.seqlen();
  const int64_t blocks = (keys + block - 1) / block;
  const int64_t init = std::min(blocks, static_cast<int64_t>(a.knobs[4]));
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
      const int64_t last = (i * stride + kernel - 1) / block;
      for (int64_t j = i * stride / block; j <= last; ++j) {
        score[j] = std::max(score[j], weight[i]);
      }
    }
    std::fill(score, score + init, INFINITY);
    const int64_t end = std::clamp<int64_t>(row.position + 1, 0, keys);
    const int64_t begin = std::max<int64_t>(row.position + 1 - window, 0);
    for (int64_t j = begin / block; j * block < end && begin < end; ++j) {
      score[j] = INFINITY;
    }
    choice->KeepTop(row, block, score, static_cast<int64_t>(a.knobs[0]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kGroup, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double pooled =
      dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  const double forced = knobs[4] * knobs[1] + knobs[5] + 2 * knobs[1];
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params,
                                   std::max(knobs[0] * knobs[1], forced)));
  cost.AddSelecting(2 * dim * static_cast<double>(shape.num_heads) *
                            ops::VisiblePairs(shape, params) / knobs[3] +
                        pooled * knobs[2] / knobs[3],
                    4 * pooled);
  return cost;
}

}  // namespace

Variant infllm_v2() {
  return {.summary =
              "For each row of a group, the blocks that hold the best "
              "window of a compressed view.",
          .paper = "Zhao et al. 2025, arXiv:2509.24663",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 6,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
