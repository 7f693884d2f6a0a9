// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the pages of keys that could score highest: Quest
// (Tang et al. 2024, arXiv:2406.10774), made for decoding. Per query head
//
//   bound(page) = scale * sum over channels c of max(q[c] min[c], q[c] max[c]),
//
// with the least and the largest of each channel over the page's keys: no key
// of the page scores higher (for a scale that is positive; for a negative one
// the other way round). Each query head chooses for itself: a mean over the
// heads of a group would bound none of them.
//
// Pages are cut from key 0 on. The first page, the row's own and those that a
// mask cuts are kept anyway, all within the budget. The paper keeps the first
// two layers dense, which is the caller's to do. The bounds are made anew in
// each call, which reads all keys once; a cache would keep them.
#include <heed/estimators.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "token_budget",
     .summary = "Keys that a row keeps, in whole pages.",
     .default_value = 1024,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "page_size",
     .summary = "Keys of a page.",
     .default_value = 16,
     .min = 1,
     .max = 65536,
     .integer = true},
};

int64_t PagesOf(const double* knobs) {
  const int64_t page = static_cast<int64_t>(knobs[1]);
  return std::max<int64_t>(static_cast<int64_t>(knobs[0]) / page, 1);
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t page = static_cast<int64_t>(a.knobs[1]);
  const int64_t dim = t.query.head_dim();
  const sparse::KeyBounds bounds = sparse::KeyBoundsOf(a, page);
  // The positive and the negative channels of a query, times the scale.
  float* queries = a.scratch.Array<float>(a.executor.max_workers * 2 * dim);
  if (bounds.least == nullptr || queries == nullptr) {
    return sparse::OutOfMemory();
  }
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto score = [&](const sparse::BlockRows& rows, float* to) {
    const float* query = RowAt(t.query, rows.batch, rows.first, rows.head);
    float* positive = queries + rows.worker * 2 * dim;
    float* negative = positive + dim;
    for (int64_t c = 0; c < dim; ++c) {
      const float q = scale * query[c];
      positive[c] = std::max(q, 0.0f);
      negative[c] = std::min(q, 0.0f);
    }
    const int64_t head = rows.batch * t.key.heads() + rows.kv_head;
    for (int64_t j = 0; j < rows.num_blocks; ++j) {
      const int64_t at = (head * bounds.blocks + j) * dim;
      to[j] = ops::Dot(positive, bounds.most + at, dim) +
              ops::Dot(negative, bounds.least + at, dim);
    }
  };
  const sparse::TopK select = {PagesOf(a.knobs)};
  return sparse::AttendBlocks(a, {1, page}, select, score);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t page = static_cast<int64_t>(knobs[1]);
  const sparse::BlockCounts counts = sparse::CountBlocks(
      shape, params, {1, page}, static_cast<double>(PagesOf(knobs)));
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double keys = static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(shape, counts.pairs, counts.key_rows);
  // Keys are read again.
  cost.AddSelecting(
      dim * (4 * counts.block_pairs * static_cast<double>(shape.num_heads) +
             2 * keys),
      4 * dim * keys);
  return cost;
}

}  // namespace

Variant quest() {
  return {
      .summary = "For each row, the pages of keys that could score highest.",
      .paper = "Tang et al. 2024, arXiv:2406.10774",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 2,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
