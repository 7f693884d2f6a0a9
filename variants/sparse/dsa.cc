// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the tokens that a light indexer scores highest, all
// heads to the same: DeepSeek sparse attention (DeepSeek-AI 2025,
// DeepSeek-V3.2, arXiv:2512.02556). Of row t and key s
//
//   I(t, s) = sum over index heads j of w(t, j) ReLU(q_index(t, j) .
//   k_index(s)),
//
// and the index_topk keys with the highest I are kept, the first of equal ones.
//
// The indexer of a model is trained. Without one, the query heads stand for its
// heads and the mean over the key heads for its key, both turned by one drawn
// matrix of signs to index_head_dim channels (which keeps products in the
// mean), with w = 1: an indexer of the right cost and an honest quality. (A
// trained one's lists, without their -1, are PlanFromBlockRows's indices in
// blocks of 1 x 1.)
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "index_topk",
     .summary = "Keys that a row keeps.",
     .default_value = 2048,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "index_head_dim",
     .summary = "Channels of the indexer; as it is where head_dim has no more.",
     .default_value = 128,
     .min = 1,
     .max = 1024,
     .integer = true},
    sparse::kSeedKnob,
};

// What turns rows of `dim` channels to `to`.
void FillSigns(int64_t seed, int64_t dim, int64_t to, float* signs) {
  const float one = 1.0f / std::sqrt(static_cast<float>(to));
  for (int64_t c = 0; c < dim; ++c) {
    for (int64_t i = 0; i < to; ++i) {
      const bool same = dim == to;
      const float sign = sparse::DrawOf(seed, 0, c, i) < 0.5f ? -one : one;
      signs[c * to + i] = same ? static_cast<float>(c == i) : sign;
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), heads = t.query.heads();
  const int64_t dim = t.query.head_dim();
  const int64_t to = std::min(dim, static_cast<int64_t>(a.knobs[1]));
  const int64_t workers = a.executor.max_workers;
  float* signs = a.scratch.Array<float>(dim * to);
  // [batch][to][keys], and a worker's own.
  float* index_keys = a.scratch.Array<float>(t.key.batch() * to * keys);
  float* means = a.scratch.Array<float>(t.key.batch() * keys * dim);
  float* index_queries = a.scratch.Array<float>(workers * heads * to);
  float* products = a.scratch.Array<float>(workers * (heads + 1) * keys);
  if (signs == nullptr || index_keys == nullptr || means == nullptr ||
      index_queries == nullptr || products == nullptr) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  FillSigns(static_cast<int64_t>(a.knobs[2]), dim, to, signs);
  const ops::ConstMatrix turn = ops::Dense(signs, dim, to);
  ops::ParallelFor(a.executor, t.key.batch(), [&](int64_t b, int) {
    float* mean = means + b * keys * dim;
    std::fill(mean, mean + keys * dim, 0.0f);
    for (int64_t h = 0; h < t.key.heads(); ++h) {
      for (int64_t key = 0; key < keys; ++key) {
        ops::Axpy(1.0f / static_cast<float>(t.key.heads()),
                  RowAt(t.key, b, key, h), mean + key * dim, dim);
      }
    }
    ops::MatMul(ops::Transposed(turn),
                ops::Transposed(ops::Dense(mean, keys, dim)),
                ops::Dense(index_keys + b * to * keys, to, keys));
  });
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    float* query = index_queries + row.worker * heads * to;
    float* product = products + row.worker * (heads + 1) * keys;
    float* score = product + heads * keys;
    for (int64_t h = 0; h < heads; ++h) {
      ops::MatMul(ops::Dense(RowAt(t.query, row.batch, row.index, h), 1, dim),
                  turn, ops::Dense(query + h * to, 1, to));
    }
    ops::Scale(scale, query, heads * to);
    ops::ConstMatrix of_keys =
        ops::Dense(index_keys + row.batch * to * keys, to, keys);
    of_keys.cols = row.end();
    ops::MatMul(ops::Dense(query, heads, to), of_keys,
                ops::Dense(product, heads, row.end()));
    std::fill(score, score + row.end(), 0.0f);
    for (int64_t h = 0; h < heads; ++h) {
      const float* of_head = product + h * row.end();
      for (int64_t s = 0; s < row.end(); ++s) {
        score[s] += std::max(of_head[s], 0.0f);
      }
    }
    choice->KeepTop(row, 1, score, static_cast<int64_t>(a.knobs[0]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kEveryHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double batch = static_cast<double>(shape.batch);
  const double heads = static_cast<double>(shape.num_heads);
  const double dim = static_cast<double>(shape.head_dim);
  const double to = std::min(dim, knobs[1]);
  const double keys = static_cast<double>(shape.seqlen_k);
  Cost cost =
      ops::SoftmaxCost(shape, sparse::CountRowPairs(shape, params, knobs[0]));
  cost.AddSelecting(
      batch * (2 * heads * to * ops::VisiblePairs(shape, params) +
               keys * dim * static_cast<double>(shape.num_kv_heads)),
      4 * batch * keys * (dim * static_cast<double>(shape.num_kv_heads) + to));
  return cost;
}

}  // namespace

Variant dsa() {
  return {.summary = "For each row, the keys that a light indexer scores best.",
          .paper = "DeepSeek-AI 2025, arXiv:2512.02556",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
