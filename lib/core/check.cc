// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every check of what a caller hands in: validation comes before any write.
#include "lib/core/check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lib/core/score_rule.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;

Status Invalid(const char* argument, const char* message) {
  return Status(kInvalid, argument, message);
}

// Sets *bytes to the distance from the first element to the end of the last.
// Returns false where it leaves 63 bits.
bool ExtentBytes(const ConstTensorView& view, int64_t* bytes) {
  int64_t total = SizeOf(view.dtype);
  for (int i = 0; i < 4; ++i) {
    int64_t step;
    if (__builtin_mul_overflow(view.extent[i] - 1, view.stride[i], &step) ||
        __builtin_add_overflow(total, step, &total)) {
      return false;
    }
  }
  *bytes = total;
  return true;
}

bool HasElements(const ConstTensorView& view) {
  for (const int64_t extent : view.extent) {
    if (extent == 0) return false;
  }
  return true;
}

// Whether two elements of an output could be the same: each stride, from small
// to large, must step over everything inside it.
bool SelfOverlap(const ConstTensorView& view) {
  int order[4] = {0, 1, 2, 3};
  for (int i = 1; i < 4; ++i) {
    for (int j = i; j > 0 && view.stride[order[j]] < view.stride[order[j - 1]];
         --j) {
      const int swap = order[j];
      order[j] = order[j - 1];
      order[j - 1] = swap;
    }
  }
  int64_t inside = SizeOf(view.dtype);  // cannot overflow: checked before
  for (const int i : order) {
    if (view.extent[i] <= 1) continue;
    if (view.stride[i] < inside) return true;
    inside += (view.extent[i] - 1) * view.stride[i];
  }
  return false;
}

Status CheckExtent(const ConstTensorView& view, int axis, int64_t want,
                   const char* name, const char* message) {
  if (view.extent[axis] == want) return Status();
  return Invalid(name, message)
      .WithIndex(axis)
      .WithValue(view.extent[axis])
      .WithBound(want);
}

Status CheckMaximum(int64_t value, int64_t bound, const char* name,
                    const char* message) {
  if (value <= bound) return Status();
  return Invalid(name, message).WithValue(value).WithBound(bound);
}

Status CheckKeyIntervals(const AttentionArgs& args) {
  const KeyIntervals& lists = args.key_intervals;
  const char* const kName = "key_intervals";
  if (lists.query_block_size == 0) return Status();
  if (lists.query_block_size < 0) {
    return Invalid(kName, "query_block_size must not be negative")
        .WithValue(lists.query_block_size)
        .WithBound(0);
  }
  const int64_t seqlen_q = args.query.seqlen();
  const int64_t blocks = seqlen_q / lists.query_block_size +
                         (seqlen_q % lists.query_block_size != 0);
  int64_t want;
  if (__builtin_mul_overflow(args.query.batch(), args.query.heads(), &want) ||
      __builtin_mul_overflow(want, blocks, &want) ||
      __builtin_add_overflow(want, int64_t{1}, &want)) {
    return Status(StatusCode::kOverflow, kName, "too many lists");
  }
  if (lists.num_offsets != want) {
    return Invalid(kName,
                   "num_offsets must be batch * num_heads * query blocks + 1")
        .WithValue(lists.num_offsets)
        .WithBound(want);
  }
  if (lists.offsets == nullptr) return Invalid(kName, "offsets is null");
  if (lists.num_intervals < 0 ||
      (lists.num_intervals > 0 && lists.intervals == nullptr)) {
    return Invalid(kName, "intervals is null or num_intervals negative");
  }
  if (lists.offsets[0] != 0) return Invalid(kName, "offsets must start at 0");
  if (lists.offsets[want - 1] != lists.num_intervals) {
    return Invalid(kName, "the last offset must equal num_intervals")
        .WithValue(lists.offsets[want - 1])
        .WithBound(lists.num_intervals);
  }
  // All offsets before any interval is read through them.
  for (int64_t list = 0; list + 1 < want; ++list) {
    if (lists.offsets[list + 1] < lists.offsets[list]) {
      return Invalid(kName, "offsets must not fall").WithIndex(list + 1);
    }
  }
  for (int64_t list = 0; list + 1 < want; ++list) {
    int64_t after = 0;
    for (int64_t i = lists.offsets[list]; i < lists.offsets[list + 1]; ++i) {
      const KeyInterval& interval = lists.intervals[i];
      if (interval.begin < after || interval.end <= interval.begin ||
          interval.end > args.key.seqlen()) {
        return Invalid(kName,
                       "intervals must be non-empty, sorted, disjoint and "
                       "inside [0, seqlen_k)")
            .WithIndex(i);
      }
      after = interval.end;
    }
  }
  return Status();
}

Status CheckExtents(const Plan& plan, const AttentionArgs& args) {
  const AttentionShape& shape = plan.shape;
  const ConstTensorView& q = args.query;
  const ConstTensorView& k = args.key;
  const ConstTensorView& v = args.value;
  const ConstTensorView out = args.out;
  struct {
    const ConstTensorView& view;
    int axis;
    int64_t want;
    const char* name;
    const char* message;
  } const checks[] = {
      {q, 2, shape.num_heads, "query", "heads differ from the plan's"},
      {q, 3, shape.head_dim, "query", "head_dim differs from the plan's"},
      {k, 0, q.batch(), "key", "batch differs from the query's"},
      {k, 2, shape.num_kv_heads, "key", "heads differ from the plan's"},
      {k, 3, shape.head_dim, "key", "head_dim differs from the query's"},
      {v, 0, q.batch(), "value", "batch differs from the query's"},
      {v, 1, k.seqlen(), "value", "seqlen differs from the key's"},
      {v, 2, shape.num_kv_heads, "value", "heads differ from the key's"},
      {v, 3, shape.head_dim_v, "value", "head_dim differs from the plan's"},
      {out, 0, q.batch(), "out", "batch differs from the query's"},
      {out, 1, q.seqlen(), "out", "seqlen differs from the query's"},
      {out, 2, q.heads(), "out", "heads differ from the query's"},
      {out, 3, shape.head_dim_v, "out", "head_dim differs from the value's"},
  };
  for (const auto& check : checks) {
    const Status status = CheckExtent(check.view, check.axis, check.want,
                                      check.name, check.message);
    if (!status.ok()) return status;
  }
  if (!args.lse.absent()) {
    const int64_t want[4] = {q.batch(), q.seqlen(), q.heads(), 1};
    for (int i = 0; i < 4; ++i) {
      const Status status =
          CheckExtent(args.lse, i, want[i], "lse",
                      "must be [batch, seqlen_q, num_heads, 1]");
      if (!status.ok()) return status;
    }
  }
  Status status = CheckMaximum(q.batch(), shape.batch, "query",
                               "batch is larger than the plan's");
  if (!status.ok()) return status;
  status = CheckMaximum(q.seqlen(), shape.seqlen_q, "query",
                        "seqlen is larger than the plan's");
  if (!status.ok()) return status;
  return CheckMaximum(k.seqlen(), shape.seqlen_k, "key",
                      "seqlen is larger than the plan's");
}

// The tensors of a call: outputs from kOut on.
constexpr int kOut = 3, kLse = 4, kTensors = 5;
struct NamedTensors {
  NamedView view[kTensors];

  explicit NamedTensors(const AttentionArgs& args)
      : view{{args.query, "query", "overlaps query"},
             {args.key, "key", "overlaps key"},
             {args.value, "value", "overlaps value"},
             {args.out, "out", "overlaps out"},
             {args.lse, "lse", "overlaps lse"}} {}
};

}  // namespace

Status CheckParams(const AttentionParams& params, const AttentionShape& shape) {
  if (!std::isfinite(params.softmax_scale)) {
    return Invalid("softmax_scale", "must be finite");
  }
  if (!std::isfinite(params.softcap) || params.softcap < 0.0f) {
    return Invalid("softcap", "must be finite and not negative");
  }
  const ScoreRule rule = MakeScoreRule(params, shape.head_dim);
  if (!std::isfinite(rule.query_scale)) {
    return Invalid("softmax_scale", "times log2(e) leaves the range of f32");
  }
  if (!std::isfinite(rule.in_scale) || !std::isfinite(rule.out_scale)) {
    return Invalid("softcap",
                   "softmax_scale / softcap or softcap * log2(e) leaves the "
                   "range of f32");
  }
  if (params.window_left < -1) {
    return Invalid("window_left", "must be -1 (all) or more")
        .WithValue(params.window_left)
        .WithBound(-1);
  }
  if (params.window_right < -1) {
    return Invalid("window_right", "must be -1 (all) or more")
        .WithValue(params.window_right)
        .WithBound(-1);
  }
  if (params.sink_size < 0) {
    return Invalid("sink_size", "must not be negative")
        .WithValue(params.sink_size)
        .WithBound(0);
  }
  return Status();
}

Status CheckShape(const AttentionShape& shape) {
  if (shape.dtype != DType::kF32) {
    return Status(StatusCode::kUnsupported, "dtype", "only f32 is offered")
        .WithValue(static_cast<int64_t>(shape.dtype));
  }
  struct {
    int64_t value, low, high;
    const char* name;
  } const extents[] = {
      {shape.batch, 0, INT64_MAX, "batch"},
      {shape.seqlen_q, 0, INT64_MAX, "seqlen_q"},
      {shape.seqlen_k, 0, INT64_MAX, "seqlen_k"},
      {shape.num_heads, 0, INT64_MAX, "num_heads"},
      {shape.num_kv_heads, 0, INT64_MAX, "num_kv_heads"},
      {shape.head_dim, 1, INT64_MAX, "head_dim"},
      {shape.head_dim_v, 0, INT64_MAX, "head_dim_v"},
  };
  for (const auto& extent : extents) {
    if (extent.value < extent.low) {
      return Invalid(extent.name, "is too small")
          .WithValue(extent.value)
          .WithBound(extent.low);
    }
  }
  const int64_t heads = shape.num_heads, kv_heads = shape.num_kv_heads;
  if (heads > 0 && (kv_heads == 0 || heads % kv_heads != 0)) {
    return Invalid("num_heads", "must be a multiple of num_kv_heads")
        .WithValue(heads)
        .WithBound(kv_heads);
  }
  if (shape.head_dim > kMaxHeadDim || shape.head_dim_v > kMaxHeadDim) {
    const bool key = shape.head_dim > kMaxHeadDim;
    return Status(StatusCode::kUnsupported, key ? "head_dim" : "head_dim_v",
                  "is larger than this version offers")
        .WithValue(key ? shape.head_dim : shape.head_dim_v)
        .WithBound(kMaxHeadDim);
  }
  // Positions are 32-bit, with room for a block past the end.
  constexpr int64_t kMaxKeys = INT32_MAX - 2 * kBlockKeys;
  if (shape.seqlen_k > kMaxKeys) {
    return Status(StatusCode::kOverflow, "seqlen_k", "is too large")
        .WithValue(shape.seqlen_k)
        .WithBound(kMaxKeys);
  }
  // Also of a plan without heads or batch, which has a tile all the same.
  int64_t rows;
  if (__builtin_mul_overflow(shape.seqlen_q, std::max<int64_t>(heads, 1),
                             &rows) ||
      __builtin_mul_overflow(rows, kMaxHeadDim * 8, &rows) ||
      __builtin_mul_overflow(rows, std::max<int64_t>(shape.batch, 1), &rows)) {
    return Status(StatusCode::kOverflow, "seqlen_q",
                  "batch * seqlen_q * num_heads leaves 64 bits");
  }
  return Status();
}

Status CheckView(const ConstTensorView& view, const char* name,
                 bool is_output) {
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] < 0) {
      return Invalid(name, "an extent is negative")
          .WithIndex(i)
          .WithValue(view.extent[i])
          .WithBound(0);
    }
  }
  if (view.dtype != DType::kF32) {
    return Status(StatusCode::kUnsupported, name, "only f32 is offered")
        .WithValue(static_cast<int64_t>(view.dtype));
  }
  if (!HasElements(view)) return Status();
  if (view.data == nullptr) return Invalid(name, "is null");
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] <= 1) continue;
    if (view.stride[i] < 0) {
      return Status(StatusCode::kUnsupported, name, "a stride is negative")
          .WithIndex(i)
          .WithValue(view.stride[i])
          .WithBound(0);
    }
    if (view.stride[i] % SizeOf(view.dtype) != 0) {
      return Invalid(name, "a stride is not a multiple of the element")
          .WithIndex(i)
          .WithValue(view.stride[i]);
    }
  }
  if (view.extent[3] > 1 && view.stride[3] != SizeOf(view.dtype)) {
    return Status(StatusCode::kUnsupported, name,
                  "the innermost stride must be one element")
        .WithIndex(3)
        .WithValue(view.stride[3])
        .WithBound(SizeOf(view.dtype));
  }
  if (reinterpret_cast<uintptr_t>(view.data) %
          static_cast<uintptr_t>(SizeOf(view.dtype)) !=
      0) {
    return Invalid(name, "is not aligned to its element");
  }
  const ConstTensorView used = UsedStrides(view);
  int64_t bytes;
  if (!ExtentBytes(used, &bytes) ||
      static_cast<uint64_t>(bytes) >
          UINTPTR_MAX - reinterpret_cast<uintptr_t>(view.data)) {
    return Status(StatusCode::kOverflow, name,
                  "extents times strides leave the address space");
  }
  if (is_output && SelfOverlap(used)) {
    return Invalid(name, "two of its elements share memory");
  }
  return Status();
}

bool Overlap(const ConstTensorView& a, const ConstTensorView& b) {
  if (!HasElements(a) || !HasElements(b)) return false;
  int64_t bytes_a, bytes_b;
  if (!ExtentBytes(UsedStrides(a), &bytes_a)) return true;
  if (!ExtentBytes(UsedStrides(b), &bytes_b)) return true;
  const uintptr_t first = reinterpret_cast<uintptr_t>(a.data);
  const uintptr_t second = reinterpret_cast<uintptr_t>(b.data);
  return first < second + static_cast<uintptr_t>(bytes_b) &&
         second < first + static_cast<uintptr_t>(bytes_a);
}

Status CheckOverlap(const NamedView& output, const NamedView* others,
                    int count) {
  for (int i = 0; i < count; ++i) {
    if (!Overlap(output.view, others[i].view)) continue;
    return Invalid(output.name, others[i].overlap);
  }
  return Status();
}

Status CheckArgs(const Plan& plan, const AttentionArgs& args) {
  const NamedTensors tensors(args);
  const NamedView* const views = tensors.view;
  for (int i = 0; i < kTensors; ++i) {
    const Status status = CheckView(views[i].view, views[i].name, i >= kOut);
    if (!status.ok()) return status;
  }
  Status status = CheckExtents(plan, args);
  if (!status.ok()) return status;
  status = CheckOverlap(views[kOut], views, kOut);
  if (!status.ok()) return status;
  status = CheckOverlap(views[kLse], views, kLse);
  if (!status.ok()) return status;
  return CheckKeyIntervals(args);
}

Status CheckWorkspace(const Plan& plan, const AttentionArgs& args,
                      Workspace workspace, int workers) {
  const size_t need = WorkspaceBytes(plan, workers);
  if (workspace.data == nullptr || workspace.bytes < need) {
    return Status(StatusCode::kWorkspace, "workspace", "is too small")
        .WithValue(static_cast<int64_t>(
            workspace.data == nullptr ? 0 : workspace.bytes))
        .WithBound(static_cast<int64_t>(need));
  }
  if (reinterpret_cast<uintptr_t>(workspace.data) % kWorkspaceAlignment != 0) {
    return Status(StatusCode::kWorkspace, "workspace",
                  "is not aligned to kWorkspaceAlignment")
        .WithBound(static_cast<int64_t>(kWorkspaceAlignment));
  }
  // As a row of floats: the size is a multiple of the alignment.
  const ConstTensorView memory =
      Bshd(static_cast<const float*>(workspace.data), 1, 1, 1,
           static_cast<int64_t>(need / sizeof(float)));
  return CheckOverlap({memory, "workspace", nullptr}, NamedTensors(args).view,
                      kTensors);
}

}  // namespace heed::internal
