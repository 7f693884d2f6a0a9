// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the blocks of keys whose mean scores highest: MoBA
// (Lu et al. 2025, arXiv:2502.13189). Per query head and row
//
//   gate(j) = query . mean(keys of block j).
//
// The block at the row's own position is always kept, as far as the masks
// allow, and counts in moba_topk; so do blocks that a mask cuts for the row. Of
// the blocks that the row sees whole, those with the highest gates are kept.
// Blocks are cut from key 0 on. Defaults are those of the paper's experiments
// at 8,192 tokens; its code has 4096 and 12, for a million.
//
// The paper merges the own block and the others by their lse. As they are
// disjoint, that is one softmax, which is what is computed here.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "moba_chunk_size",
     .summary = "Keys of a block.",
     .default_value = 512,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "moba_topk",
     .summary = "Blocks that a row keeps, its own included.",
     .default_value = 3,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
};

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t block = static_cast<int64_t>(a.knobs[0]);
  const int64_t keys = t.key.seqlen();
  const int64_t dim = t.query.head_dim();
  const int64_t blocks = (keys + block - 1) / block;
  const float* means = sparse::KeyMeans(a, block);
  float* gates = a.scratch.Array<float>(a.executor.max_workers * blocks);
  if (means == nullptr || gates == nullptr) return sparse::OutOfMemory();
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    const float* query = RowAt(t.query, row.batch, row.index, row.head);
    const float* mean =
        means + (row.batch * t.key.heads() + row.kv_head) * blocks * dim;
    float* gate = gates + row.worker * blocks;
    for (int64_t j = 0; j * block < row.end(); ++j) {
      const int64_t begin = j * block;
      const int64_t end = std::min(begin + block, keys);
      const bool own = row.position >= begin && row.position < end;
      gate[j] = own || !row.Whole(begin, end)
                    ? INFINITY
                    : scale * ops::Dot(query, mean + j * dim, dim);
    }
    choice->KeepTop(row, block, gate, static_cast<int64_t>(a.knobs[1]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  // Blocks that masks cut may exceed the budget, which has the row's own: those
  // at the ends of sinks and windows.
  const bool cut = params.window_left >= 0 || params.window_right > 0 ||
                   params.sink_size > 0;
  const double keys = knobs[0] * (knobs[1] + (cut ? 3 : 0));
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double pooled =
      dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, keys,
                                   static_cast<int64_t>(knobs[0])));
  cost.AddSelecting(2 * dim * static_cast<double>(shape.num_heads) *
                            ops::VisiblePairs(shape, params) / knobs[0] +
                        pooled,
                    4 * pooled);
  return cost;
}

}  // namespace

Variant moba() {
  return {.summary = "For each row, its own block and those of highest mean.",
          .paper = "Lu et al. 2025, arXiv:2502.13189",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
