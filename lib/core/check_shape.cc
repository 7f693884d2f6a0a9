// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a plan may be made for.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

// Refuses the first tensor whose dtype is not served.
Status CheckDTypes(const AttentionShape& shape) {
  Status status;
  const AttentionArgs tensors;
  ForEachTensor(tensors, [&](const auto&, const TensorName& name, TensorRole) {
    if (!status.ok() || name.dtype == nullptr) return;
    const DType dtype = shape.*name.dtype;
    const bool cached = &name == &kKeyName || &name == &kValueName;
    if (IsFloat(dtype) || (cached && IsQuantised(dtype))) return;
    status =
        Status(StatusCode::kUnsupported, name.dtype_field,
               cached ? "must be f32, bf16, f16, i8, f8_e4m3, f8_e5m2 or u4"
                      : "must be f32, bf16 or f16");
  });
  return status;
}

// 4-bit elements come in groups.
Status CheckGroups(DType dtype, int64_t head_dim, const char* name,
                   const char* message) {
  if (dtype != DType::kU4 || head_dim % kMinScaleGroup == 0) return Status();
  return Invalid(name, message)
      .WithValue(head_dim)
      .WithBound(kMinScaleGroup, BoundKind::kSaid);
}

}  // namespace

Status CheckShape(const AttentionShape& shape) {
  Status status = CheckDTypes(shape);
  if (!status.ok()) return status;
  struct {
    int64_t value, low;
    const char* name;
  } const extents[] = {
      {shape.batch, 0, "batch"},
      {shape.seqlen_q, 0, "seqlen_q"},
      {shape.seqlen_k, 0, "seqlen_k"},
      {shape.num_heads, 0, "num_heads"},
      {shape.num_kv_heads, 0, "num_kv_heads"},
      {shape.head_dim, 1, "head_dim"},
      {shape.head_dim_v, 0, "head_dim_v"},
      {shape.num_sequences, 0, "num_sequences"},
  };
  for (const auto& extent : extents) {
    if (extent.value < extent.low) {
      return Invalid(extent.name, "is too small")
          .WithValue(extent.value)
          .WithBound(extent.low, BoundKind::kAtLeast);
    }
  }
  const int64_t heads = shape.num_heads, kv_heads = shape.num_kv_heads;
  if (heads > 0 && (kv_heads == 0 || heads % kv_heads != 0)) {
    return Invalid("num_heads", "must be a multiple of num_kv_heads")
        .WithValue(heads)
        .WithBound(kv_heads, BoundKind::kOver)
        .WithUnit("heads");
  }
  if (shape.head_dim > kMaxHeadDim || shape.head_dim_v > kMaxHeadDim) {
    const bool key = shape.head_dim > kMaxHeadDim;
    return Status(StatusCode::kUnsupported, key ? "head_dim" : "head_dim_v",
                  "is larger than this version offers")
        .WithValue(key ? shape.head_dim : shape.head_dim_v)
        .WithBound(kMaxHeadDim);
  }
  status = CheckGroups(shape.key_dtype, shape.head_dim, "head_dim",
                       "of 4-bit keys must be a multiple of 32");
  if (!status.ok()) return status;
  status = CheckGroups(shape.value_dtype, shape.head_dim_v, "head_dim_v",
                       "of 4-bit values must be a multiple of 32");
  if (!status.ok()) return status;
  // Positions are 32-bit, with room for a block past the end.
  constexpr int64_t kMaxKeys = INT32_MAX - 2 * kBlockKeys;
  if (shape.seqlen_k > kMaxKeys) {
    return Status(StatusCode::kOverflow, "seqlen_k", "is too large")
        .WithValue(shape.seqlen_k)
        .WithBound(kMaxKeys)
        .WithUnit("keys");
  }
  if (shape.num_sequences > INT32_MAX) {
    return Status(StatusCode::kOverflow, "num_sequences", "is too large")
        .WithValue(shape.num_sequences)
        .WithBound(INT32_MAX)
        .WithUnit("sequences");
  }
  // Also of a plan without heads or batch, which has a tile all the same.
  int64_t rows;
  if (__builtin_mul_overflow(shape.seqlen_q, std::max<int64_t>(heads, 1),
                             &rows) ||
      __builtin_mul_overflow(rows, kMaxHeadDim * 8, &rows) ||
      __builtin_mul_overflow(rows, std::max<int64_t>(shape.batch, 1), &rows)) {
    return Status(StatusCode::kOverflow, "seqlen_q",
                  "times batch and num_heads leaves 64 bits")
        .WithValue(shape.seqlen_q)
        .WithUnit("positions");
  }
  return Status();
}

Status CheckParams(const AttentionParams& params, const ScoreRule& rule) {
  if (!std::isfinite(params.softmax_scale)) {
    return Invalid("softmax_scale", "must be finite");
  }
  if (!std::isfinite(params.softcap) || params.softcap < 0.0f) {
    return Invalid("softcap", "must be finite and not negative");
  }
  if (!std::isfinite(rule.query_scale)) {
    return Invalid("softmax_scale", "times log2(e) leaves the range of f32");
  }
  if (!std::isfinite(rule.in_scale) || !std::isfinite(rule.out_scale)) {
    return Invalid("softcap",
                   "makes softmax_scale / softcap or softcap * log2(e) leave "
                   "the range of f32");
  }
  struct {
    int64_t value, low;
    const char* name;
    const char* message;
  } const counts[] = {
      {params.window_left, -1, "window_left", "must be -1 (all) or more"},
      {params.window_right, -1, "window_right", "must be -1 (all) or more"},
      {params.sink_size, 0, "sink_size", "must not be negative"},
  };
  for (const auto& count : counts) {
    if (count.value >= count.low) continue;
    return Invalid(count.name, count.message)
        .WithValue(count.value)
        .WithBound(count.low, BoundKind::kSaid);
  }
  return Status();
}

}  // namespace heed::internal
