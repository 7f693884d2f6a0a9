// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The short causal convolution: a task is a head of a sequence.
#include <algorithm>
#include <cstdint>

#include "heed/linear_ops.h"
#include "lib/core/check.h"
#include "lib/core/parallel.h"
#include "lib/core/tensors.h"

namespace heed {
namespace internal {
namespace {

constexpr int64_t kMaxKernelSize = 8;

constexpr TensorName kConvX = {"x", "overlaps x"};
constexpr TensorName kConvOut = {"out", "overlaps out"};
constexpr TensorName kConvInitial = {"initial_state", "overlaps initial_state"};
constexpr TensorName kConvFinal = {"final_state", "overlaps final_state"};
constexpr TensorName kConvWeight = {"weight", "overlaps weight"};
constexpr TensorName kConvBias = {"bias", "overlaps bias"};
constexpr TensorName kConvSums = {"cu_seqlens", "overlaps cu_seqlens"};

int64_t SequencesOf(const CausalConvArgs& args) {
  return args.cu_seqlens != nullptr ? args.num_sequences : args.x.batch();
}

Status CheckExtents(const ConstTensorView& view, const TensorName& name,
                    const int64_t* want) {
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] == want[i]) continue;
    return Invalid(name.argument, "does not fit x, weight and the sequences")
        .WithIndex(i)
        .WithValue(view.extent[i])
        .WithBound(want[i], BoundKind::kNeeds);
  }
  return Status();
}

Status CheckTensors(const CausalConvArgs& args) {
  struct {
    const ConstTensorView view;
    const TensorName& name;
    bool optional, output;
  } const tensors[] = {{args.x, kConvX, false, false},
                       {args.out, kConvOut, false, true},
                       {args.initial_state, kConvInitial, true, false},
                       {args.final_state, kConvFinal, true, true}};
  for (const auto& t : tensors) {
    if (t.view.absent()) {
      if (t.optional) continue;
      return Invalid(t.name.argument, "is absent");
    }
    Status status = CheckType(t.view, t.name);
    if (status.ok()) {
      status = CheckView(t.view, t.name,
                         t.output ? TensorRole::kOutput : TensorRole::kInput);
    }
    if (!status.ok()) return status;
  }
  return Status();
}

Status CheckWeight(const CausalConvArgs& args) {
  const ops::ConstMatrix& w = args.weight;
  if (w.rows < 1 || w.rows > kMaxKernelSize) {
    return Invalid("weight", "must have 1 to 8 rows, a tap each")
        .WithValue(w.rows)
        .WithBound(kMaxKernelSize, BoundKind::kSaid);
  }
  if (args.x.heads() > INT32_MAX || args.x.head_dim() > INT32_MAX) {
    return Status(StatusCode::kOverflow, "x", "has channels beyond 31 bits");
  }
  const int64_t channels = args.x.heads() * args.x.head_dim();
  if (w.cols != channels) {
    return Invalid("weight", "must have a column for each channel of x")
        .WithValue(w.cols)
        .WithBound(channels, BoundKind::kNeeds);
  }
  if (channels == 0) return Status();
  if (w.data == nullptr) return Invalid("weight", "is null");
  if (w.row_stride < 0 || w.col_stride < 0) {
    return Invalid("weight", "has a negative stride");
  }
  return Status();
}

Status CheckOverlaps(const CausalConvArgs& args) {
  const ops::ConstMatrix& w = args.weight;
  const int64_t channels = w.cols;
  struct {
    const ConstTensorView view;
    const TensorName& name;
  } const inputs[] = {
      {args.x, kConvX},
      {args.initial_state, kConvInitial},
      {Strided(w.data, 1, w.rows, channels, 1, 0, w.row_stride, w.col_stride),
       kConvWeight},
      {Bshd(args.bias, 1, 1, 1, args.bias != nullptr ? channels : 0),
       kConvBias},
      {Bshd(args.cu_seqlens, 1, 1, 1,
            args.cu_seqlens != nullptr ? args.num_sequences + 1 : 0),
       kConvSums}};
  for (const auto& input : inputs) {
    if (input.view.data == nullptr) continue;
    Status status = CheckOverlap(args.out, kConvOut, input.view, input.name);
    if (!status.ok()) return status;
    if (args.final_state.absent()) continue;
    const bool in_place =
        &input.name == &kConvInitial && SameView(args.final_state, input.view);
    if (in_place) continue;
    status = CheckOverlap(args.final_state, kConvFinal, input.view, input.name);
    if (!status.ok()) return status;
  }
  if (args.final_state.absent()) return Status();
  return CheckOverlap(args.final_state, kConvFinal, args.out, kConvOut);
}

Status CheckConv(const CausalConvArgs& args) {
  Status status = CheckTensors(args);
  if (status.ok()) status = CheckWeight(args);
  if (!status.ok()) return status;
  if (args.num_sequences < 0 ||
      (args.cu_seqlens == nullptr && args.num_sequences != 0)) {
    return Invalid("num_sequences", "must not be negative, nor given alone")
        .WithValue(args.num_sequences)
        .WithBound(0, BoundKind::kSaid);
  }
  const ConstTensorView& x = args.x;
  if (args.cu_seqlens != nullptr && x.batch() != 1) {
    return Invalid("x", "must have batch 1, as rows are packed")
        .WithIndex(0)
        .WithValue(x.batch())
        .WithBound(1, BoundKind::kNeeds);
  }
  status = CheckExtents(args.out, kConvOut, x.extent);
  const int64_t state[] = {SequencesOf(args), args.weight.rows - 1, x.heads(),
                           x.head_dim()};
  if (status.ok() && !args.initial_state.absent()) {
    status = CheckExtents(args.initial_state, kConvInitial, state);
  }
  if (status.ok() && !args.final_state.absent()) {
    status = CheckExtents(args.final_state, kConvFinal, state);
  }
  if (status.ok() && args.cu_seqlens != nullptr) {
    status =
        CheckSums({"cu_seqlens", args.cu_seqlens, x.seqlen(), x.seqlen(), ""},
                  args.num_sequences);
  }
  return status.ok() ? CheckOverlaps(args) : status;
}

// Tokens of one head of one sequence, its state before them.
class ConvTask {
 public:
  ConvTask(const CausalConvArgs& args, int64_t task)
      : args_(args),
        taps_(args.weight.rows),
        sequence_(task / args.x.heads()),
        head_(task % args.x.heads()),
        batch_(args.cu_seqlens != nullptr ? 0 : sequence_),
        first_(args.cu_seqlens != nullptr ? args.cu_seqlens[sequence_] : 0),
        count_(args.cu_seqlens != nullptr
                   ? args.cu_seqlens[sequence_ + 1] - first_
                   : args.x.seqlen()) {}

  void Run() {
    for (int64_t t = 0; t < count_; ++t) RunToken(t);
    // Rising, so that a state in place is read before it is written.
    for (int64_t i = 0; i + 1 < taps_ && !args_.final_state.absent(); ++i) {
      const int64_t n = args_.x.head_dim();
      float* to = RowAt(args_.final_state, sequence_, i, head_);
      const float* from = TokenAt(count_ - taps_ + 1 + i);
      if (from == nullptr) {
        std::fill(to, to + n, 0.0f);
      } else if (from != to) {
        std::copy(from, from + n, to);
      }
    }
  }

 private:
  // Token t of the sequence, of the state where t is below 0; null for zeros.
  const float* TokenAt(int64_t t) const {
    if (t >= 0) return RowAt(args_.x, batch_, first_ + t, head_);
    if (args_.initial_state.absent()) return nullptr;
    return RowAt(args_.initial_state, sequence_, taps_ - 1 + t, head_);
  }

  void RunToken(int64_t t) {
    const int64_t n = args_.x.head_dim(), channel = head_ * n;
    const ops::ConstMatrix& w = args_.weight;
    float* out = RowAt(args_.out, batch_, first_ + t, head_);
    // A sum that begins at +0 is the same with and without products of zeros.
    for (int64_t c = 0; c < n; ++c) {
      out[c] = args_.bias != nullptr ? args_.bias[channel + c] + 0.0f : 0.0f;
    }
    for (int64_t j = 0; j < taps_; ++j) {
      const float* x = TokenAt(t - taps_ + 1 + j);
      if (x == nullptr) continue;
      const float* weight = w.row(j) + channel * w.col_stride;
      if (w.col_stride == 1) {
        for (int64_t c = 0; c < n; ++c) out[c] += weight[c] * x[c];
      } else {
        for (int64_t c = 0; c < n; ++c) {
          out[c] += weight[c * w.col_stride] * x[c];
        }
      }
    }
    if (args_.silu) ops::Silu(out, out, n);
  }

  const CausalConvArgs& args_;
  const int64_t taps_, sequence_, head_, batch_, first_, count_;
};

void RunConvTask(void* ctx, int64_t i, int /*worker*/) {
  ConvTask(*static_cast<const CausalConvArgs*>(ctx), i).Run();
}

}  // namespace
}  // namespace internal

Status CausalConv(const CausalConvArgs& args, const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (status.ok()) status = internal::CheckConv(args);
  if (!status.ok()) return status;
  CausalConvArgs used = args;
  used.x = internal::UsedStrides(args.x);
  used.out = internal::UsedStrides(args.out);
  used.initial_state = internal::UsedStrides(args.initial_state);
  used.final_state = internal::UsedStrides(args.final_state);
  const int64_t heads = args.x.heads();
  const bool rows = args.x.seqlen() > 0 && args.x.head_dim() > 0;
  const bool states = !args.final_state.absent() && args.weight.rows > 1 &&
                      args.x.head_dim() > 0;
  if (!rows && !states) return Status();
  return internal::ParallelFor(executor, internal::SequencesOf(args) * heads,
                               executor.max_workers, &used,
                               &internal::RunConvTask);
}

}  // namespace heed
