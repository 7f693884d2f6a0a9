// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Parts of a variant's result: memory for each, and how they become one.
#include "heed/parts_variant.h"

#include <algorithm>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"
#include "lib/core/double_math.h"
#include "lib/core/variant_call.h"

namespace heed::sparse {
namespace {

Status Unserved(const char* argument) {
  return Status(StatusCode::kUnsupported, argument,
                "must be absent: this variant has keys that are no tokens");
}

}  // namespace

Status CheckParts(const VariantArgs& a, bool sinks) {
  const Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok()) return status;
  if (a.params.window_left >= 0) return Unserved("window_left");
  if (a.params.window_right >= 0) return Unserved("window_right");
  ScoreInputs others = a.args.scores;
  if (sinks) others.sink_logits = ConstTensorView();
  return others.any() ? Unserved("scores") : status;
}

Status Parts::Prepare(const VariantArgs& a, int count, bool sinks) {
  const Status status = CheckParts(a, sinks);
  if (!status.ok()) return status;
  a_ = &a;
  count_ = count;
  const TensorView& out = a.args.out;
  const int64_t rows = count * out.batch() * out.seqlen();
  out_ = a.scratch.Array<float>(rows, out.heads(), out.head_dim());
  lse_ = a.scratch.Array<float>(rows, out.heads());
  return out_ == nullptr || lse_ == nullptr ? OutOfMemory() : Status();
}

TensorView Parts::OutOf(int i) const {
  const TensorView& out = a_->args.out;
  const int64_t size =
      out.batch() * out.seqlen() * out.heads() * out.head_dim();
  return Bshd(out_ + i * size, out.batch(), out.seqlen(), out.heads(),
              out.head_dim());
}

TensorView Parts::LseOf(int i) const {
  const TensorView& out = a_->args.out;
  const int64_t size = out.batch() * out.seqlen() * out.heads();
  return Bhs(lse_ + i * size, out.batch(), out.heads(), out.seqlen());
}

VariantArgs Parts::Call(int i) const {
  VariantArgs call = *a_;
  call.args.out = OutOf(i);
  call.args.lse = LseOf(i);
  call.args.scores = ScoreInputs();
  if (i == 0) call.args.scores.sink_logits = a_->args.scores.sink_logits;
  call.selection = SelectionRecorder();
  // Where rows stand stays what it was, whatever keys they are given.
  call.params.causal_offset =
      OffsetOf(a_->params, a_->args.query.seqlen(), a_->args.key.seqlen());
  return call;
}

void Parts::PutLse(int i) const {
  const TensorView &out = a_->args.out, &lse = a_->args.lse;
  if (lse.absent()) return;
  for (int64_t b = 0; b < out.batch(); ++b) {
    for (int64_t row = 0; row < out.seqlen(); ++row) {
      for (int64_t h = 0; h < out.heads(); ++h) {
        *RowAt(lse, b, row, h) = *RowAt(LseOf(i), b, row, h);
      }
    }
  }
}

Status Parts::Merge() const {
  Status status;
  for (int i = 1; status.ok() && i < count_; ++i) {
    const bool last = i + 1 == count_;
    const TensorView out = last ? a_->args.out : OutOf(0);
    const TensorView lse =
        last && !a_->args.lse.absent() ? a_->args.lse : LseOf(0);
    status = MergeStates(OutOf(0), LseOf(0), OutOf(i), LseOf(i), out, lse);
  }
  return status;
}

AttentionParams WindowOf(const AttentionParams& params, int64_t window) {
  AttentionParams masks = params;
  masks.window_left = window - 1;
  if (!params.causal) masks.window_right = window - 1;
  return masks;
}

Status PooledTokens::Prepare(const VariantArgs& a, const PoolGrid& grid) {
  const ConstTensorView &key = a.args.key, &value = a.args.value;
  const int64_t rows = a.args.query.seqlen();
  const int64_t dim = key.head_dim(), dim_v = value.head_dim();
  const int64_t heads = key.batch() * key.heads();
  entries_ = grid.Before(key.seqlen());
  float* const of_key = a.scratch.Array<float>(heads, entries_, dim);
  float* const of_value = a.scratch.Array<float>(heads, entries_, dim_v);
  log_counts_ = a.scratch.Array<float>(entries_);
  seen_ = a.scratch.Array<int32_t>(rows);
  if (!of_key || !of_value || !log_counts_ || !seen_) return OutOfMemory();
  key_ = Bhsd(static_cast<const float*>(of_key), key.batch(), key.heads(),
              entries_, dim);
  value_ = Bhsd(static_cast<const float*>(of_value), key.batch(), key.heads(),
                entries_, dim_v);
  a.phases.Enter(Phase::kEstimate);
  const int64_t offset = OffsetOf(a.params, rows, key.seqlen());
  for (int64_t row = 0; row < rows; ++row) {
    seen_[row] =
        static_cast<int32_t>(grid.Seen(a.params, offset + row, key.seqlen()));
  }
  for (int64_t i = 0; i < entries_; ++i) {
    log_counts_[i] = static_cast<float>(
        heed::internal::Log2(static_cast<double>(grid.End(i) - grid.Begin(i))) *
        heed::internal::kDoubleLn2);
  }
  ops::ParallelFor(a.executor, heads, [&](int64_t h, int /*worker*/) {
    const auto pool = [&](const ConstTensorView& x, float* to) {
      const ops::ConstMatrix all =
          ops::Head(x, h / key.heads(), h % key.heads());
      for (int64_t i = 0; i < entries_; ++i) {
        const ops::ConstMatrix of =
            ops::RowRange(all, grid.Begin(i), grid.End(i));
        ops::MeanPool(of, of.rows, ops::Dense(to + i * all.cols, 1, all.cols));
      }
    };
    pool(key, of_key + h * entries_ * dim);
    pool(value, of_value + h * entries_ * dim_v);
  });
  return Status();
}

void PooledTokens::PutInto(VariantArgs* call, bool log_count) const {
  AttentionArgs& args = call->args;
  const int64_t batch = args.query.batch(), rows = args.query.seqlen();
  args.key = key_;
  args.value = value_;
  args.scores.row_lengths =
      Strided(static_cast<const int32_t*>(seen_), batch, rows, 1, 1, 0, 1, 0);
  if (log_count) {
    args.scores.bias = Strided(static_cast<const float*>(log_counts_), batch,
                               rows, args.query.heads(), entries_, 0, 0, 0);
  }
  // The scale stays that of the call.
  call->params.causal = false;
}

double PooledPairs(const AttentionShape& shape, const AttentionParams& params,
                   const PoolGrid& grid) {
  const int64_t offset = OffsetOf(params, shape.seqlen_q, shape.seqlen_k);
  double pairs = 0;
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    pairs +=
        static_cast<double>(grid.Seen(params, offset + row, shape.seqlen_k));
  }
  return pairs;
}

}  // namespace heed::sparse
