// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A layer's run: everything is checked, then project, turn and append, attend,
// project.
#include <algorithm>
#include <cstdint>

#include "heed/append.h"
#include "heed/layers.h"
#include "lib/core/check.h"
#include "lib/core/parallel.h"
#include "lib/core/rows_per_task.h"
#include "lib/layers/check_multi_head.h"
#include "lib/layers/linear.h"
#include "lib/layers/multi_head_call.h"
#include "lib/layers/multi_head_memory.h"

namespace heed {
namespace {

using Call = internal::MultiHeadCall;

struct ConvertContext {
  const internal::OpsTable* ops;
  ConstTensorView from;
  TensorView to;
  int64_t rows_per_task;
};

void RunConvert(void* ctx, int64_t task, int /*worker*/) {
  const ConvertContext& c = *static_cast<const ConvertContext*>(ctx);
  const int64_t seqlen = c.from.seqlen();
  const int64_t first = task * c.rows_per_task;
  const int64_t last =
      std::min(first + c.rows_per_task, c.from.batch() * seqlen);
  for (int64_t row = first; row < last; ++row) {
    const int64_t b = row / seqlen;
    const char* const from = internal::BytesAt(c.from, b, row % seqlen, 0);
    char* const to = internal::BytesAt(c.to, b, row % seqlen, 0);
    if (c.to.dtype == DType::kF32) {
      c.ops->widen(c.from.dtype, from, c.from.head_dim(),
                   reinterpret_cast<float*>(to));
    } else {
      c.ops->narrow(c.to.dtype, reinterpret_cast<const float*>(from),
                    c.from.head_dim(), to);
    }
  }
}

// Copies rows, one of the two being f32.
Status Convert(const internal::OpsTable& ops, const ConstTensorView& from,
               const TensorView& to, const Executor& executor) {
  const int64_t rows = from.batch() * from.seqlen();
  if (rows == 0) return Status();
  ConvertContext context = {&ops, internal::UsedStrides(from),
                            internal::UsedStrides(to),
                            internal::RowsPerTask(rows, executor.max_workers)};
  return internal::ParallelFor(executor, (rows - 1) / context.rows_per_task + 1,
                               executor.max_workers, &context, &RunConvert);
}

// The rows as f32: the caller's, or widened in `memory`.
Status WidenRows(const Call& c, float* memory, ConstTensorView* rows,
                 const Executor& executor) {
  if (rows->dtype == DType::kF32) return Status();
  const TensorView wide =
      Bshd(memory, rows->batch(), rows->seqlen(), 1, rows->head_dim());
  const Status status = Convert(*c.plan.ops, *rows, wide, executor);
  *rows = wide;
  return status;
}

// Heads side by side, as the projections have them.
TensorView Joined(const TensorView& heads) {
  return Bshd(static_cast<float*>(heads.data), heads.batch(), heads.seqlen(), 1,
              heads.heads() * heads.head_dim());
}

Status Project(const Call& c, const Executor& executor) {
  ConstTensorView query = c.args.query, key = c.args.key, value = c.args.value;
  const bool value_is_key = internal::SameView(key, value);
  const bool key_is_query = internal::SameView(query, key) &&
                            query.head_dim() == key.head_dim() &&
                            query.seqlen() == key.seqlen();
  Status status = WidenRows(c, c.memory.query_rows, &query, executor);
  if (key_is_query) {
    key = query;
  } else if (status.ok()) {
    status = WidenRows(c, c.memory.key_rows, &key, executor);
  }
  if (value_is_key && value.head_dim() == key.head_dim()) {
    value = key;
  } else if (status.ok()) {
    status = WidenRows(c, c.memory.value_rows, &value, executor);
  }
  if (!status.ok()) return status;
  const internal::LinearJob jobs[] = {
      {&c.args.weights.query, internal::UsedStrides(query), Joined(c.query)},
      {&c.args.weights.key, internal::UsedStrides(key), Joined(c.key)},
      {&c.args.weights.value, internal::UsedStrides(value), Joined(c.value)}};
  return internal::RunLinearJobs(*c.plan.ops, jobs, 3, executor);
}

Status Compute(const Call& c, const Executor& executor) {
  Status status = Project(c, executor);
  if (status.ok() && c.args.rope.rotary_dim != 0) {
    status = ApplyRope(c.query, c.args.query_positions, c.args.rope, c.query,
                       executor);
    if (status.ok() && !c.plan.shape.cache) {
      status =
          ApplyRope(c.key, c.args.key_positions, c.args.rope, c.key, executor);
    }
  }
  if (status.ok() && c.appends()) status = AppendKv(c.append, executor);
  if (status.ok()) {
    status = Run(c.plan.attention, c.attention, c.workspace, executor);
  }
  if (!status.ok()) return status;
  const bool narrow = c.args.out.dtype != DType::kF32;
  TensorView out = c.args.out;
  if (narrow) {
    out = Bshd(c.memory.out_rows, out.batch(), out.seqlen(), 1, out.head_dim());
  }
  const internal::LinearJob job = {&c.args.weights.out, Joined(c.attended),
                                   internal::UsedStrides(out)};
  status = internal::RunLinearJobs(*c.plan.ops, &job, 1, executor);
  if (!status.ok() || !narrow) return status;
  return Convert(*c.plan.ops, out, c.args.out, executor);
}

}  // namespace

Status RunMultiHead(const MultiHeadPlan& plan, const MultiHeadArgs& args,
                    Workspace workspace, const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (!status.ok()) return status;
  if (plan.ops == nullptr) return internal::Invalid("plan", "was not made");
  const int workers = executor.max_workers;
  Call call = {plan, args, {}, {}, {}, {}, {}, {}, {}, {}};
  if (call.args.key.absent()) call.args.key = args.query;
  if (call.args.value.absent()) call.args.value = call.args.key;
  if (args.cu_seqlens_k == nullptr) call.args.cu_seqlens_k = args.cu_seqlens_q;
  status = internal::CheckMultiHeadArgs(plan, call.args);
  if (!status.ok()) return status;
  const size_t need = MultiHeadWorkspaceBytes(plan, workers);
  status = internal::CheckWorkspaceBytes(workspace, need);
  if (status.ok()) {
    status = internal::CheckOutsideWorkspace(call.args, workspace, need);
  }
  if (!status.ok()) return status;
  internal::Carver carver(workspace.data);
  call.memory = internal::CarveMultiHead(carver, plan, workers);
  call.workspace.data = call.memory.attention;
  call.workspace.bytes = WorkspaceBytes(plan.attention, workers);
  status = internal::PrepareMultiHead(&call);
  if (!status.ok() || args.query.batch() == 0) return status;
  status = internal::CheckWorkspace(plan.attention, call.attention,
                                    call.workspace, workers);
  if (status.ok()) {
    status =
        internal::CheckPagesOutside(call.args, call.attention, workspace, need);
  }
  if (!status.ok()) return status;
  return Compute(call, executor);
}

}  // namespace heed
