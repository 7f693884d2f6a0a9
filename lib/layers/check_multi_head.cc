// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/layers/check_multi_head.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/rope.h"
#include "lib/layers/linear.h"

namespace heed::internal {
namespace {

struct NamedLinear {
  const PackedLinear* linear;
  TensorName name;
  int64_t in_features, out_features;
};

// The four projections and what they must be.
struct Linears {
  Linears(const MultiHeadParams& p, const MultiHeadWeights& w)
      : all{{&w.query,
             {"weights.query", "overlaps weights.query"},
             p.model_dim,
             p.num_heads * p.head_dim},
            {&w.key,
             {"weights.key", "overlaps weights.key"},
             p.key_dim,
             p.num_kv_heads * p.head_dim},
            {&w.value,
             {"weights.value", "overlaps weights.value"},
             p.value_dim,
             p.num_kv_heads * p.head_dim_v},
            {&w.out,
             {"weights.out", "overlaps weights.out"},
             p.num_heads * p.head_dim_v,
             p.out_dim}} {}
  NamedLinear all[4];
};

Status CheckLinears(const MultiHeadPlan& plan,
                    const MultiHeadWeights& weights) {
  const Linears linears(plan.params, weights);
  for (const NamedLinear& l : linears.all) {
    if (!IsPacked(*l.linear)) {
      return Invalid(l.name.argument, "was not packed");
    }
    if (l.linear->in_features != l.in_features) {
      return Invalid(l.name.argument, "has other inputs than the plan's layer")
          .WithValue(l.linear->in_features)
          .WithBound(l.in_features, BoundKind::kNeeds);
    }
    if (l.linear->out_features != l.out_features) {
      return Invalid(l.name.argument, "has other outputs than the plan's layer")
          .WithValue(l.linear->out_features)
          .WithBound(l.out_features, BoundKind::kNeeds);
    }
  }
  return Status();
}

// Rows of `width` numbers: [batch, at most `most`, 1, width].
struct Rows {
  const ConstTensorView& view;
  TensorName name;
  TensorRole role;
  DType dtype;
  int64_t batch, width;
  int64_t seqlen;  // -1: any up to most
  int64_t most;
  const char* beyond;
};

Status CheckRows(const Rows& rows) {
  if (rows.view.dtype != rows.dtype) {
    return Invalid(rows.name.argument, "dtype differs from the plan's");
  }
  const Status status = CheckView(rows.view, rows.name, rows.role);
  if (!status.ok()) return status;
  const int64_t want[] = {rows.batch,
                          rows.seqlen < 0 ? rows.view.seqlen() : rows.seqlen, 1,
                          rows.width};
  constexpr const char* kMessages[] = {
      "must have the batch of query", "must have as many rows as what it is of",
      "must be [batch, seqlen, 1, width]", "must be as wide as the plan's"};
  for (int i = 0; i < 4; ++i) {
    if (rows.view.extent[i] == want[i]) continue;
    return Invalid(rows.name.argument, kMessages[i])
        .WithIndex(i)
        .WithValue(rows.view.extent[i])
        .WithBound(want[i], BoundKind::kNeeds);
  }
  if (rows.view.seqlen() <= rows.most) return Status();
  return Invalid(rows.name.argument, rows.beyond)
      .WithIndex(1)
      .WithValue(rows.view.seqlen())
      .WithBound(rows.most);
}

// Whether rows are packed as the plan has them.
Status CheckPacked(const MultiHeadPlan& plan, const MultiHeadArgs& args) {
  if (plan.shape.total_q == 0) {
    const char* const given = args.cu_seqlens_q != nullptr   ? "cu_seqlens_q"
                              : args.cu_seqlens_k != nullptr ? "cu_seqlens_k"
                              : args.num_sequences != 0      ? "num_sequences"
                                                             : nullptr;
    if (given == nullptr) return Status();
    return Invalid(given, "is given to a plan made without total_q");
  }
  if (args.cu_seqlens_q == nullptr) {
    return Invalid("cu_seqlens_q", "is null, and the plan has total_q");
  }
  if (args.num_sequences < 1 || args.num_sequences > plan.shape.batch) {
    return Invalid("num_sequences", "must be 1 to the plan's batch")
        .WithValue(args.num_sequences)
        .WithBound(plan.shape.batch, BoundKind::kSaid);
  }
  if (args.query.batch() == 1) return Status();
  return Invalid("query", "must have a batch of 1, as rows are packed")
      .WithIndex(0)
      .WithValue(args.query.batch())
      .WithBound(1, BoundKind::kNeeds);
}

// The running sums of packed rows.
Status CheckAllSums(const MultiHeadPlan& plan, const MultiHeadArgs& args) {
  if (!IsPacked(args)) return Status();
  const MultiHeadShape& s = plan.shape;
  const Status status = CheckSums(
      {"cu_seqlens_q", args.cu_seqlens_q, args.query.seqlen(), s.seqlen_q,
       "has a sequence that is longer than the plan's seqlen_q"},
      args.num_sequences);
  if (!status.ok()) return status;
  return CheckSums(
      {"cu_seqlens_k", args.cu_seqlens_k, args.key.seqlen(),
       s.cache ? s.seqlen_new : s.seqlen_k,
       s.cache ? "has a sequence that is longer than the plan's seqlen_new"
               : "has a sequence that is longer than the plan's seqlen_k"},
      args.num_sequences);
}

Status CheckAllRows(const MultiHeadPlan& plan, const MultiHeadArgs& args) {
  const MultiHeadParams& p = plan.params;
  const MultiHeadShape& s = plan.shape;
  const int64_t batch = args.query.batch();
  const bool packed = IsPacked(args);
  const int64_t most_rows = packed ? s.total_q : s.seqlen_q;
  const int64_t most_new = packed    ? s.total_new
                           : s.cache ? s.seqlen_new
                                     : s.seqlen_k;
  const char* const beyond_queries = packed
                                         ? "is larger than the plan's total_q"
                                         : "is larger than the plan's seqlen_q";
  const char* const beyond_keys = packed ? "is larger than the plan's total_new"
                                  : s.cache
                                      ? "is larger than the plan's seqlen_new"
                                      : "is larger than the plan's seqlen_k";
  const ConstTensorView out = args.out;
  const Rows all[] = {
      {args.query, kQueryName, TensorRole::kInput, s.input_dtype, batch,
       p.model_dim, -1, most_rows, beyond_queries},
      {args.key, kKeyName, TensorRole::kInput, s.input_dtype, batch, p.key_dim,
       -1, most_new, beyond_keys},
      {args.value, kValueName, TensorRole::kInput, s.input_dtype, batch,
       p.value_dim, args.key.seqlen(), most_new, beyond_keys},
      {out, kOutName, TensorRole::kOutput, s.out_dtype, batch, p.out_dim,
       args.query.seqlen(), most_rows, beyond_queries}};
  for (const Rows& rows : all) {
    const Status status = CheckRows(rows);
    if (!status.ok()) return status;
  }
  if (packed || batch <= s.batch) return Status();
  return Invalid("query", "is larger than the plan's batch")
      .WithIndex(0)
      .WithValue(batch)
      .WithBound(s.batch);
}

Status CheckCaches(const MultiHeadPlan& plan, const MultiHeadArgs& args) {
  if (!plan.shape.cache) {
    if (!args.key_cache.absent() || !args.value_cache.absent()) {
      return Invalid("key_cache", "is given to a plan made without a cache");
    }
    if (args.past_lengths != nullptr) {
      return Invalid("past_lengths",
                     "are given to a plan made without a cache");
    }
    if (args.pages.any()) {
      return Invalid("pages", "are given to a plan made without a cache");
    }
    return Status();
  }
  if (args.past_lengths == nullptr && args.query.batch() > 0) {
    return Invalid("past_lengths", "is null");
  }
  const struct {
    const TensorView& view;
    const char* argument;
    DType dtype;
    int64_t head_dim;
  } caches[] = {{args.key_cache, "key_cache", plan.shape.key_cache_dtype,
                 plan.params.head_dim},
                {args.value_cache, "value_cache", plan.shape.value_cache_dtype,
                 plan.params.head_dim_v}};
  for (const auto& cache : caches) {
    if (cache.view.dtype != cache.dtype) {
      return Invalid(cache.argument, "dtype differs from the plan's");
    }
    const int64_t want[] = {plan.params.num_kv_heads, cache.head_dim};
    for (const int axis : {2, 3}) {
      if (cache.view.extent[axis] == want[axis - 2]) continue;
      return Invalid(cache.argument,
                     "has other heads or head_dim than the plan")
          .WithIndex(axis)
          .WithValue(cache.view.extent[axis])
          .WithBound(want[axis - 2], BoundKind::kNeeds);
    }
  }
  return Status();
}

}  // namespace

MultiHeadParams Resolved(MultiHeadParams params) {
  const auto by_default = [](int64_t* value, int64_t other) {
    if (*value == 0) *value = other;
  };
  by_default(&params.key_dim, params.model_dim);
  by_default(&params.value_dim, params.key_dim);
  by_default(&params.out_dim, params.model_dim);
  by_default(&params.num_kv_heads, params.num_heads);
  if (params.head_dim == 0 && params.num_heads > 0 &&
      params.model_dim % params.num_heads == 0) {
    params.head_dim = params.model_dim / params.num_heads;
  }
  by_default(&params.head_dim_v, params.head_dim);
  return params;
}

Status CheckMultiHeadShape(const MultiHeadParams& params,
                           const MultiHeadShape& shape) {
  const struct {
    const char* name;
    int64_t value;
    int64_t least;
  } extents[] = {
      {"model_dim", params.model_dim, 1},
      {"key_dim", params.key_dim, 1},
      {"value_dim", params.value_dim, 1},
      {"out_dim", params.out_dim, 1},
      {"num_heads", params.num_heads, 1},
      {"num_kv_heads", params.num_kv_heads, 1},
      {"head_dim", params.head_dim, 0},
      {"head_dim_v", params.head_dim_v, 0},
      {"batch", shape.batch, 0},
      {"seqlen_q", shape.seqlen_q, 0},
      {"seqlen_k", shape.seqlen_k, 0},
      {"seqlen_new", shape.seqlen_new, 0},
      {"total_q", shape.total_q, 0},
      {"total_new", shape.total_new, 0},
  };
  for (const auto& extent : extents) {
    if (extent.value >= extent.least && extent.value <= INT32_MAX) continue;
    return Invalid(extent.name, extent.least == 0 ? "must be 0 to 2^31 - 1"
                                                  : "must be 1 to 2^31 - 1")
        .WithValue(extent.value);
  }
  if (shape.total_new > 0 && shape.total_q == 0) {
    return Invalid("total_new", "is given without total_q")
        .WithValue(shape.total_new);
  }
  if (params.head_dim == 0) {
    return Invalid("head_dim",
                   "is 0, and model_dim is no multiple of num_heads")
        .WithValue(params.model_dim)
        .WithBound(params.num_heads, BoundKind::kOver);
  }
  if (params.head_dim_v == 0) return Invalid("head_dim_v", "must be positive");
  const struct {
    const char* name;
    DType dtype;
  } dtypes[] = {{"input_dtype", shape.input_dtype},
                {"out_dtype", shape.out_dtype},
                {"key_cache_dtype", shape.key_cache_dtype},
                {"value_cache_dtype", shape.value_cache_dtype}};
  for (const auto& type : dtypes) {
    if (IsFloat(type.dtype)) continue;
    return Status(StatusCode::kUnsupported, type.name,
                  "must be f32, bf16 or f16");
  }
  return Status();
}

Status CheckMultiHeadArgs(const MultiHeadPlan& plan,
                          const MultiHeadArgs& args) {
  Status status = CheckPacked(plan, args);
  if (status.ok()) status = CheckAllRows(plan, args);
  if (status.ok()) status = CheckAllSums(plan, args);
  if (status.ok()) status = CheckLinears(plan, args.weights);
  if (status.ok()) status = CheckCaches(plan, args);
  if (!status.ok()) return status;
  if (args.rope.rotary_dim == 0 &&
      (args.query_positions != nullptr || args.key_positions != nullptr)) {
    return Invalid(
        args.query_positions != nullptr ? "query_positions" : "key_positions",
        "are given without rope");
  }
  status = CheckRope(args.rope, plan.params.head_dim, nullptr, 0, "");
  return status.ok() ? CheckApart(args) : status;
}

}  // namespace heed::internal
