// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Chooses keys by the largest channels of a group's queries.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"

namespace heed::sparse {

Status SparqChoice::Prepare(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim(), keys = a.args.key.seqlen();
  const int64_t workers = a.executor.max_workers;
  a_ = &a;
  group_ = a.args.query.heads() / std::max<int64_t>(a.args.key.heads(), 1);
  channels_ = std::min(dim, static_cast<int64_t>(a.knobs[1]));
  of_worker_ = dim + channels_ + (group_ + 1) * keys;
  floats_ = a.scratch.Array<float>(workers, of_worker_);
  channel_ = a.scratch.Array<int32_t>(workers, dim);
  return floats_ == nullptr || channel_ == nullptr ? OutOfMemory() : Status();
}

const float* SparqChoice::Choose(const QueryRow& row, RowChoice* choice) const {
  const AttentionArgs& t = a_->args;
  const int64_t dim = t.query.head_dim(), keys = t.key.seqlen();
  const float scale = ops::SoftmaxScale(a_->params, dim);
  float* const size = floats_ + row.worker * of_worker_;
  float* const query = size + dim;
  float* const score = query + channels_;
  float* const weights = score + keys;
  int32_t* const channel = channel_ + row.worker * dim;
  std::fill(size, size + dim, 0.0f);
  for (int64_t h = row.head; h < row.head + row.num_heads; ++h) {
    const float* q = RowAt(t.query, row.batch, row.index, h);
    for (int64_t c = 0; c < dim; ++c) size[c] += std::fabs(q[c]);
  }
  ops::TopK(size, dim, channels_, channel);
  std::fill(score, score + row.end(), 0.0f);
  for (int64_t head = 0; head < row.num_heads; ++head) {
    const float* q = RowAt(t.query, row.batch, row.index, row.head + head);
    float* const weight = weights + head * keys;
    float all = 0, read = 0;
    for (int64_t c = 0; c < dim; ++c) all += std::fabs(q[c]);
    for (int64_t i = 0; i < channels_; ++i) read += std::fabs(q[channel[i]]);
    const float factor = read > 0 ? scale * std::sqrt(all / read) : scale;
    for (int64_t i = 0; i < channels_; ++i) query[i] = factor * q[channel[i]];
    for (int64_t key = 0; key < row.end(); ++key) {
      weight[key] = -INFINITY;
      if (!row.Touches(key, key + 1)) continue;
      const float* x = RowAt(t.key, row.batch, key, row.kv_head);
      float sum = 0;
      for (int64_t i = 0; i < channels_; ++i) sum += query[i] * x[channel[i]];
      weight[key] = sum;
    }
    ops::Softmax(weight, row.end());
    ops::Axpy(1.0f, weight, score, row.end());
  }
  const int64_t local = static_cast<int64_t>(a_->knobs[2]);
  const int64_t latest = std::max<int64_t>(row.end() - local, 0);
  std::fill(score + latest, score + row.end(), INFINITY);
  choice->KeepTop(row, 1, score, static_cast<int64_t>(a_->knobs[0]));
  return weights;
}

Cost SparqChoice::CostOf(const AttentionShape& shape,
                         const AttentionParams& params, const double* knobs) {
  const double r = std::min(knobs[1], static_cast<double>(shape.head_dim));
  const double batch = static_cast<double>(shape.batch);
  Cost cost = ops::SoftmaxCost(
      shape, CountRowPairs(shape, params, std::max(knobs[0], knobs[2])));
  cost.AddSelecting(2 * batch * r * static_cast<double>(shape.num_heads) *
                        ops::VisiblePairs(shape, params),
                    4 * batch * r * static_cast<double>(shape.num_kv_heads) *
                        ops::VisibleKeyRows(shape, params));
  return cost;
}

}  // namespace heed::sparse
