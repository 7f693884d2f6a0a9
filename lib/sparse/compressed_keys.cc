// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys pooled in overlapping windows, and what rows pay to them.
#include <algorithm>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"

namespace heed::sparse {

bool CompressedKeys::Prepare(const VariantArgs& a, int64_t kernel,
                             int64_t stride) {
  const ConstTensorView& key = a.args.key;
  const int64_t dim = key.head_dim();
  a_ = &a;
  kernel_ = kernel;
  stride_ = stride;
  windows_ = key.seqlen() < kernel ? 0 : (key.seqlen() - kernel) / stride + 1;
  const int64_t heads = key.batch() * key.heads();
  mean_ = a.scratch.Array<float>(heads * windows_ * dim);
  score_ = a.scratch.Array<float>(a.executor.max_workers * windows_);
  if (mean_ == nullptr || score_ == nullptr) return false;
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, heads, [&](int64_t i, int /*worker*/) {
    const ops::ConstMatrix rows =
        ops::Head(key, i / key.heads(), i % key.heads());
    for (int64_t w = 0; w < windows_; ++w) {
      ops::MeanPool(ops::RowRange(rows, w * stride_, w * stride_ + kernel_),
                    kernel_,
                    ops::Dense(mean_ + (i * windows_ + w) * dim, 1, dim));
    }
  });
  return true;
}

int64_t CompressedKeys::Weigh(const QueryRow& row, float* weight) const {
  const AttentionArgs& t = a_->args;
  const int64_t dim = t.query.head_dim();
  const float scale = ops::SoftmaxScale(a_->params, dim);
  const float* const mean =
      mean_ + (row.batch * t.key.heads() + row.kv_head) * windows_ * dim;
  float* const score = score_ + row.worker * windows_;
  int64_t end = 0;
  std::fill(weight, weight + windows_, 0.0f);
  for (int64_t h = row.head; h < row.head + row.num_heads; ++h) {
    const float* const query = RowAt(t.query, row.batch, row.index, h);
    // Windows that the row sees are packed, as softmax wants them.
    int64_t count = 0;
    for (int64_t w = 0; w < windows_ && w * stride_ + kernel_ <= row.end();
         ++w) {
      if (!row.Whole(w * stride_, w * stride_ + kernel_)) continue;
      score[count++] = scale * ops::Dot(query, mean + w * dim, dim);
    }
    ops::Softmax(score, count);
    count = 0;
    for (int64_t w = 0; w < windows_ && w * stride_ + kernel_ <= row.end();
         ++w) {
      if (!row.Whole(w * stride_, w * stride_ + kernel_)) continue;
      weight[w] += score[count++];
      end = w + 1;
    }
  }
  return end;
}

}  // namespace heed::sparse
