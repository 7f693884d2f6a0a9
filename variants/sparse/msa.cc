// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the blocks of keys that hold the best token, the
// heads of a group to the same: the sparse attention of MiniMax-M3 (2026). Per
// key head one index head scores tokens; a block scores as its best token does,
// of those that the row sees; the row's own block is always kept and counts in
// topk. Blocks are cut from key 0 on, so padding before it does not shift them.
//
// The indexer of a model is trained. Without one, the index query is the mean
// of the group's queries, and the index key the key: an indexer of the right
// shape, which costs what a head of scores does.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "block_size",
     .summary = "Keys of a block.",
     .default_value = 128,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "topk",
     .summary = "Blocks that a row keeps, its own included.",
     .default_value = 16,
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
  float* own = a.scratch.Array<float>(a.executor.max_workers * (dim + blocks));
  if (own == nullptr) return sparse::OutOfMemory();
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    float* query = own + row.worker * (dim + blocks);
    float* score = query + dim;
    std::fill(query, query + dim, 0.0f);
    for (int64_t h = row.head; h < row.head + row.num_heads; ++h) {
      ops::Axpy(scale / static_cast<float>(row.num_heads),
                RowAt(t.query, row.batch, row.index, h), query, dim);
    }
    std::fill(score, score + blocks, -INFINITY);
    for (int64_t key = 0; key < row.end(); ++key) {
      if (!row.Touches(key, key + 1)) continue;
      const float s =
          ops::Dot(query, RowAt(t.key, row.batch, key, row.kv_head), dim);
      // Written so that NaN does not win.
      if (s > score[key / block]) score[key / block] = s;
    }
    if (row.position >= 0 && row.position < keys) {
      score[row.position / block] = INFINITY;
    }
    choice->KeepTop(row, block, score, static_cast<int64_t>(a.knobs[1]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kGroup, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double dim = static_cast<double>(shape.batch * shape.head_dim) *
                     static_cast<double>(shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, knobs[0] * knobs[1],
                                   static_cast<int64_t>(knobs[0])));
  cost.AddSelecting(2 * dim * ops::VisiblePairs(shape, params),
                    4 * dim * ops::VisibleKeyRows(shape, params));
  return cost;
}

}  // namespace

Variant msa() {
  return {
      .summary = "For each row of a group, the blocks that hold the best key.",
      .paper = "MiniMax 2026, MiniMax-M3",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 2,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
