// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the tokens that score highest on the query's largest
// channels: SparQ (Ribar et al. 2023, arXiv:2312.04985), made for decoding. Per
// key head, of the queries of its group together, the r channels with the
// largest sum of |q| are read of each key. Of each head
//
//   weight = softmax(scale / sqrt(|q of these channels|_1 / |q|_1) *
//                    product over these channels),
//
// and the k keys whose weights sum highest over the heads of the group are
// kept, the latest `local` of those that a row sees among them.
//
// The paper mixes the result with the mean of all values, by the weight that
// the choice missed. That is left out: what is computed is softmax attention
// over the choice.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "k",
     .summary = "Keys that a row keeps.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "r",
     .summary = "Channels of the keys that choosing reads.",
     .default_value = 32,
     .min = 1,
     .max = 1024,
     .integer = true},
    {.name = "local",
     .summary = "Latest keys of a row that are among the k.",
     .default_value = 32,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.query.head_dim();
  const int64_t r = std::min(dim, static_cast<int64_t>(a.knobs[1]));
  const int64_t local = static_cast<int64_t>(a.knobs[2]);
  const int64_t workers = a.executor.max_workers;
  float* floats = a.scratch.Array<float>(workers * (dim + r + 2 * keys));
  int32_t* channels = a.scratch.Array<int32_t>(workers * dim);
  if (floats == nullptr || channels == nullptr) return sparse::OutOfMemory();
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    float* size = floats + row.worker * (dim + r + 2 * keys);
    float* query = size + dim;
    float* weight = query + r;
    float* score = weight + keys;
    int32_t* channel = channels + row.worker * dim;
    std::fill(size, size + dim, 0.0f);
    for (int64_t h = row.head; h < row.head + row.num_heads; ++h) {
      const float* q = RowAt(t.query, row.batch, row.index, h);
      for (int64_t c = 0; c < dim; ++c) size[c] += std::fabs(q[c]);
    }
    ops::TopK(size, dim, r, channel);
    std::fill(score, score + row.end(), 0.0f);
    for (int64_t h = row.head; h < row.head + row.num_heads; ++h) {
      const float* q = RowAt(t.query, row.batch, row.index, h);
      float all = 0, read = 0;
      for (int64_t c = 0; c < dim; ++c) all += std::fabs(q[c]);
      for (int64_t i = 0; i < r; ++i) read += std::fabs(q[channel[i]]);
      const float factor = read > 0 ? scale * std::sqrt(all / read) : scale;
      for (int64_t i = 0; i < r; ++i) query[i] = factor * q[channel[i]];
      for (int64_t key = 0; key < row.end(); ++key) {
        weight[key] = -INFINITY;
        if (!row.Touches(key, key + 1)) continue;
        const float* x = RowAt(t.key, row.batch, key, row.kv_head);
        float sum = 0;
        for (int64_t i = 0; i < r; ++i) sum += query[i] * x[channel[i]];
        weight[key] = sum;
      }
      ops::Softmax(weight, row.end());
      ops::Axpy(1.0f, weight, score, row.end());
    }
    const int64_t latest = std::max<int64_t>(row.end() - local, 0);
    std::fill(score + latest, score + row.end(), INFINITY);
    choice->KeepTop(row, 1, score, static_cast<int64_t>(a.knobs[0]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kGroup, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double r = std::min(knobs[1], static_cast<double>(shape.head_dim));
  const double batch = static_cast<double>(shape.batch);
  Cost cost = ops::SoftmaxCost(
      shape,
      sparse::CountRowPairs(shape, params, std::max(knobs[0], knobs[2])));
  cost.AddSelecting(2 * batch * r * static_cast<double>(shape.num_heads) *
                        ops::VisiblePairs(shape, params),
                    4 * batch * r * static_cast<double>(shape.num_kv_heads) *
                        ops::VisibleKeyRows(shape, params));
  return cost;
}

}  // namespace

Variant sparq() {
  return {.summary =
              "For each row of a group, the keys that score best on the "
              "queries' largest channels.",
          .paper = "Ribar et al. 2023, arXiv:2312.04985",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
