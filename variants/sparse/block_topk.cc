// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the key blocks that score highest against the mean of a block of
// queries: the block-sparse pattern of MInference (Jiang et al. 2024,
// arXiv:2407.02490), whose gate MoBA trains (Lu et al. 2025, arXiv:2502.13189).
//
// Keys are cut into blocks at multiples of `block` from key 0, query rows from
// row 0, so a chunk of a prompt selects as the whole prompt does where it
// begins at a multiple of `block`. Per query head and query block
//
//   score(j) = scale * mean(query rows) . mean(keys of block j),
//
// a last short block being averaged over the keys that it has. Kept are, all
// within the budget of total_blocks,
//   - the first block, the blocks at the rows' own positions, and the blocks
//     that a mask cuts for some of the rows, however many those are;
//   - of the blocks that every row sees whole, those that score highest, the
//     lowest index first among equals.
// A mean of keys that counts therefore never holds one that some row may not
// see. (The mean of queries holds those of later rows of the block.)
#include <heed/estimators.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    sparse::kBlockKnob,
    sparse::kTotalBlocksKnob,
};

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t block = static_cast<int64_t>(a.knobs[0]);
  const int64_t dim = t.query.head_dim();
  const int64_t key_blocks = (t.key.seqlen() + block - 1) / block;
  const float scale = ops::SoftmaxScale(a.params, dim);
  const float* key_means = sparse::KeyMeans(a, block);
  float* query_means = a.scratch.Array<float>(a.executor.max_workers * dim);
  if (key_means == nullptr || query_means == nullptr) {
    return sparse::OutOfMemory();
  }
  const auto score = [&](const sparse::BlockRows& rows, float* to) {
    float* query_mean = query_means + rows.worker * dim;
    ops::MeanPool(ops::RowRange(ops::Head(t.query, rows.batch, rows.head),
                                rows.first, rows.end),
                  block, ops::Dense(query_mean, 1, dim));
    const float* key_mean =
        key_means +
        (rows.batch * t.key.heads() + rows.kv_head) * key_blocks * dim;
    for (int64_t j = 0; j < rows.num_blocks; ++j) {
      to[j] = scale * ops::Dot(query_mean, key_mean + j * dim, dim);
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
  const double batch = static_cast<double>(shape.batch);
  const double dim = static_cast<double>(shape.head_dim);
  const double heads = static_cast<double>(shape.num_heads);
  const double pooled = static_cast<double>(shape.seqlen_q) * heads +
                        static_cast<double>(shape.seqlen_k) *
                            static_cast<double>(shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(shape, counts.pairs, counts.key_rows);
  // Queries and keys are read again.
  cost.AddSelecting(batch * dim * (2 * counts.block_pairs * heads + pooled),
                    4 * batch * dim * pooled);
  return cost;
}

}  // namespace

Variant block_topk() {
  return {.summary =
              "The key blocks whose mean scores highest against the "
              "mean of a block of queries.",
          .paper = "Jiang et al. 2024, arXiv:2407.02490",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
