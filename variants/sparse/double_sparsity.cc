// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the tokens that score highest on a few channels, the
// same for all rows of a head: Double Sparsity (Yang et al. 2024,
// arXiv:2408.07092). Label channels are the head_dim / group_factor (one at
// least) with the largest sum |q| * sum |k|, and the heavy_const keys with the
// highest products over them are kept, the first of equal ones.
//
// The paper finds the channels offline, on samples. Here they are those of the
// call: its last rows and keys have a say in what the first rows choose by.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "heavy_const",
     .summary = "Keys that a row keeps.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "group_factor",
     .summary = "Channels of a key for each one that choosing reads.",
     .default_value = 4,
     .min = 1,
     .max = 1024,
     .integer = true},
};

int64_t LabelsOf(const double* knobs, int64_t dim) {
  return std::max<int64_t>(dim / static_cast<int64_t>(knobs[1]),
                           std::min<int64_t>(dim, 1));
}

void AddSizes(const ConstTensorView& view, int64_t batch, int64_t head,
              float* size) {
  for (int64_t row = 0; row < view.seqlen(); ++row) {
    const float* x = RowAt(view, batch, row, head);
    for (int64_t c = 0; c < view.head_dim(); ++c) size[c] += std::fabs(x[c]);
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.query.head_dim();
  const int64_t heads = t.query.heads(), all = t.query.batch() * heads;
  const int64_t r = LabelsOf(a.knobs, dim);
  const int64_t workers = a.executor.max_workers;
  float* labels = a.scratch.Array<float>(all * keys * r);  // of the keys
  int32_t* channels = a.scratch.Array<int32_t>(all * dim);
  float* floats = a.scratch.Array<float>(workers * (2 * dim + keys));
  if (labels == nullptr || channels == nullptr || floats == nullptr) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, all, [&](int64_t i, int worker) {
    const int64_t b = i / heads;
    const int64_t kv_head = i % heads / (heads / t.key.heads());
    float* size = floats + worker * (2 * dim + keys);
    float* of_key = size + dim;
    std::fill(size, size + 2 * dim, 0.0f);
    AddSizes(t.query, b, i % heads, size);
    AddSizes(t.key, b, kv_head, of_key);
    for (int64_t c = 0; c < dim; ++c) size[c] *= of_key[c];
    int32_t* channel = channels + i * dim;
    ops::TopK(size, dim, r, channel);
    for (int64_t key = 0; key < keys; ++key) {
      const float* x = RowAt(t.key, b, key, kv_head);
      float* label = labels + (i * keys + key) * r;
      for (int64_t c = 0; c < r; ++c) label[c] = x[channel[c]];
    }
  });
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    const int64_t i = row.batch * heads + row.head;
    const float* q = RowAt(t.query, row.batch, row.index, row.head);
    float* query = floats + row.worker * (2 * dim + keys);
    float* score = query + dim;
    for (int64_t c = 0; c < r; ++c) query[c] = scale * q[channels[i * dim + c]];
    for (int64_t key = 0; key < row.end(); ++key) {
      score[key] = ops::Dot(query, labels + (i * keys + key) * r, r);
    }
    choice->KeepTop(row, 1, score, static_cast<int64_t>(a.knobs[0]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double r = static_cast<double>(LabelsOf(knobs, shape.head_dim));
  const double batch = static_cast<double>(shape.batch);
  const double keys = static_cast<double>(shape.seqlen_k * shape.num_heads);
  Cost cost =
      ops::SoftmaxCost(shape, sparse::CountRowPairs(shape, params, knobs[0]));
  // Labels are written and read.
  cost.AddSelecting(2 * batch * r * static_cast<double>(shape.num_heads) *
                        ops::VisiblePairs(shape, params),
                    4 * 2 * batch * r * keys);
  return cost;
}

}  // namespace

Variant double_sparsity() {
  return {.summary =
              "For each row, the keys that score best on the head's "
              "label channels.",
          .paper = "Yang et al. 2024, arXiv:2408.07092",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
