// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans of layers: the plan of attention, and memory.
#include <algorithm>
#include <cstdint>

#include "heed/layers.h"
#include "lib/core/check.h"
#include "lib/core/choose_target.h"
#include "lib/kernels/kernels.h"
#include "lib/layers/check_multi_head.h"
#include "lib/layers/multi_head_memory.h"

namespace heed {
namespace {

// Whether all rows, times all that stands in the workspace for one, stay far
// within 63 bits.
bool Fits(const MultiHeadParams& p, const MultiHeadShape& s) {
  const int64_t keys = s.cache ? s.seqlen_new : s.seqlen_k;
  int64_t wide = 0;
  for (const int64_t heads_dim :
       {p.num_heads * p.head_dim, p.num_heads * p.head_dim_v, p.model_dim,
        p.key_dim, p.value_dim, p.out_dim, int64_t{1}}) {
    wide += heads_dim;
  }
  int64_t rows = s.total_q + s.total_new, numbers;
  return (rows > 0 ||
          !__builtin_mul_overflow(s.batch, s.seqlen_q + keys, &rows)) &&
         !__builtin_mul_overflow(rows, wide, &numbers) &&
         numbers < INT64_MAX / 64;
}

}  // namespace

Status MakeMultiHeadPlan(const MultiHeadParams& params,
                         const MultiHeadShape& shape,
                         const MultiHeadOptions& options, MultiHeadPlan* plan) {
  if (plan == nullptr) return internal::Invalid("plan", "is null");
  MultiHeadPlan made;
  made.params = internal::Resolved(params);
  made.shape = shape;
  if (shape.total_new == 0) made.shape.total_new = shape.total_q;
  Status status = internal::CheckMultiHeadShape(made.params, shape);
  if (!status.ok()) return status;
  internal::Target target;
  status = internal::ChooseTarget(options.target, &target);
  if (!status.ok()) return status;

  AttentionShape attention;
  attention.batch = shape.batch;
  attention.seqlen_q = shape.seqlen_q;
  attention.seqlen_k = shape.seqlen_k;
  attention.num_heads = made.params.num_heads;
  attention.num_kv_heads = made.params.num_kv_heads;
  attention.head_dim = made.params.head_dim;
  attention.head_dim_v = made.params.head_dim_v;
  attention.scores = shape.scores;
  if (shape.cache || shape.total_q > 0) {
    attention.num_sequences = shape.batch;
  }
  if (shape.cache) {
    attention.key_dtype = shape.key_cache_dtype;
    attention.value_dtype = shape.value_cache_dtype;
  }
  PlanOptions plan_options;
  plan_options.target = options.target;
  plan_options.numerics = Numerics::kSame;
  status = MakePlan(params.attention, attention, plan_options, &made.attention);
  if (!status.ok()) return status;
  if (!Fits(made.params, made.shape)) {
    return Status(StatusCode::kOverflow, "batch",
                  "times rows and their widths leaves 63 bits");
  }
  made.ops = &internal::KernelsOf(target)->ops;
  *plan = made;
  return Status();
}

size_t MultiHeadWorkspaceBytes(const MultiHeadPlan& plan, int workers) {
  internal::Carver carver(nullptr);
  internal::CarveMultiHead(carver, plan, std::max(workers, 1));
  return static_cast<size_t>(carver.used());
}

}  // namespace heed
