// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys pooled in overlapping windows, what rows pay to them, and the blocks
// that they choose by it.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"

namespace heed::sparse {
namespace {

Status MustDivide(const char* argument, int64_t of, int64_t stride) {
  return Status(StatusCode::kInvalidArgument, argument,
                "must be a multiple of compress_stride")
      .WithValue(of)
      .WithBound(stride, BoundKind::kOver);
}

}  // namespace

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

Status NativeChoice::Prepare(const VariantArgs& a) {
  count_ = static_cast<int64_t>(a.knobs[0]);
  block_ = static_cast<int64_t>(a.knobs[1]);
  const int64_t kernel = static_cast<int64_t>(a.knobs[2]);
  stride_ = static_cast<int64_t>(a.knobs[3]);
  if (block_ % stride_ != 0) return MustDivide("select_block", block_, stride_);
  if (kernel % stride_ != 0) {
    return MustDivide("compress_block", kernel, stride_);
  }
  strides_ = kernel / stride_;
  blocks_ = (a.args.key.seqlen() + block_ - 1) / block_;
  if (!compressed_.Prepare(a, kernel, stride_)) return OutOfMemory();
  floats_ = a.scratch.Array<float>(a.executor.max_workers,
                                   compressed_.windows() + blocks_);
  return floats_ == nullptr ? OutOfMemory() : Status();
}

void NativeChoice::Choose(const QueryRow& row, RowChoice* choice) const {
  float* const weight =
      floats_ + row.worker * (compressed_.windows() + blocks_);
  float* const score = weight + compressed_.windows();
  std::fill(score, score + blocks_, 0.0f);
  const int64_t count = compressed_.Weigh(row, weight);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t part = 0; part < strides_; ++part) {
      score[(i + part) * stride_ / block_] += weight[i];
    }
  }
  const int64_t local = row.position >= 0 ? row.position / block_ : -1;
  for (const int64_t j : {int64_t{0}, local - 1, local}) {
    if (j >= 0 && j < blocks_) score[j] = INFINITY;
  }
  choice->KeepTop(row, block_, score, count_);
}

void NativeChoice::AddCost(const AttentionShape& shape,
                           const AttentionParams& params, const double* knobs,
                           Cost* cost) {
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double pooled =
      dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  cost->AddSelecting(2 * dim * static_cast<double>(shape.num_heads) *
                             ops::VisiblePairs(shape, params) / knobs[3] +
                         pooled * knobs[2] / knobs[3],
                     4 * pooled);
}

}  // namespace heed::sparse
