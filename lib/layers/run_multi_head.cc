// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A layer's run: everything is checked, then project, turn and append, attend,
// project.
#include <algorithm>
#include <cstdint>

#include "heed/append.h"
#include "heed/layers.h"
#include "lib/core/append.h"
#include "lib/core/check.h"
#include "lib/core/parallel.h"
#include "lib/core/rope.h"
#include "lib/core/rows_per_task.h"
#include "lib/layers/check_multi_head.h"
#include "lib/layers/linear.h"
#include "lib/layers/multi_head_memory.h"

namespace heed {
namespace {

using internal::Invalid;

// A call on its way: the parts that it is made of, ready to run.
struct Call {
  const MultiHeadPlan& plan;
  MultiHeadArgs args;
  internal::MultiHeadMemory memory;
  // Projected rows.
  TensorView query, key, value, attended;
  AppendArgs append;  // with a cache
  AttentionArgs attention;
  Workspace workspace;  // of attention
};

int64_t PastLength(const MultiHeadArgs& args, int64_t batch) {
  return args.past_lengths == nullptr ? 0 : args.past_lengths[batch];
}

// Lengths with the new keys. They must be known to be sound before attention
// is shown the cache.
Status FillLengths(const Call& c) {
  const int64_t tokens = c.args.key.seqlen();
  for (int64_t b = 0; b < c.args.query.batch(); ++b) {
    const int64_t past = c.args.past_lengths[b];
    if (past < 0 || past + tokens > c.plan.shape.seqlen_k) {
      return Invalid("past_lengths",
                     "must be 0 to what leaves the new keys in the plan's "
                     "seqlen_k")
          .WithIndex(b)
          .WithValue(past)
          .WithBound(c.plan.shape.seqlen_k - tokens);
    }
    c.memory.seqlens_k[b] = static_cast<int32_t>(past + tokens);
  }
  return Status();
}

// Where rows stand for their rope, where the caller does not say.
Status FillPositions(Call* c) {
  const MultiHeadArgs& args = c->args;
  const int64_t given = c->plan.params.attention.causal_offset;
  const int64_t tokens = args.key.seqlen();
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    const int64_t past = PastLength(args, b);
    const int64_t offset =
        given == kBottomRight ? past + tokens - args.query.seqlen() : given;
    for (int64_t i = 0; i < args.query.seqlen(); ++i) {
      if (args.query_positions != nullptr) break;
      // Beyond 31 bits no table reaches; -1 is refused as well.
      const bool fits = offset >= -i && offset <= INT32_MAX - i;
      c->memory.query_positions[b * args.query.seqlen() + i] =
          fits ? static_cast<int32_t>(offset + i) : -1;
    }
    for (int64_t i = 0; i < tokens && args.key_positions == nullptr; ++i) {
      c->memory.key_positions[b * tokens + i] = static_cast<int32_t>(past + i);
    }
  }
  if (args.query_positions == nullptr) {
    c->args.query_positions = c->memory.query_positions;
  }
  if (args.key_positions == nullptr) {
    c->args.key_positions = c->memory.key_positions;
  }
  Status status = internal::CheckRope(
      args.rope, c->plan.params.head_dim, c->args.query_positions,
      args.query.batch() * args.query.seqlen(), "query_positions");
  if (!status.ok()) return status;
  return internal::CheckRope(args.rope, c->plan.params.head_dim,
                             c->args.key_positions, args.query.batch() * tokens,
                             "key_positions");
}

bool Appends(const Call& c) {
  return c.plan.shape.cache && c.args.key.seqlen() > 0 &&
         c.args.query.batch() > 0;
}

// Sets up what is left to check: the append and attention.
Status Prepare(Call* c) {
  const MultiHeadParams& p = c->plan.params;
  MultiHeadArgs& args = c->args;
  const int64_t batch = args.query.batch();
  const int64_t rows = args.query.seqlen();
  const int64_t tokens = args.key.seqlen();
  const internal::MultiHeadMemory& m = c->memory;
  c->query = Bshd(m.query, batch, rows, p.num_heads, p.head_dim);
  c->key = Bshd(m.key, batch, tokens, p.num_kv_heads, p.head_dim);
  c->value = Bshd(m.value, batch, tokens, p.num_kv_heads, p.head_dim_v);
  c->attended = Bshd(m.attended, batch, rows, p.num_heads, p.head_dim_v);
  c->attention.query = c->query;
  c->attention.key = c->key;
  c->attention.value = c->value;
  c->attention.out = c->attended;
  c->attention.scores = args.scores;
  Status status;
  if (c->plan.shape.cache) {
    status = FillLengths(*c);
    if (!status.ok()) return status;
  }
  if (args.rope.rotary_dim != 0) {
    status = FillPositions(c);
    if (!status.ok()) return status;
  }
  if (c->plan.shape.cache) {
    AppendArgs& append = c->append;
    append.key = c->key;
    append.value = c->value;
    append.key_cache = args.key_cache;
    append.value_cache = args.value_cache;
    append.past_lengths = args.past_lengths;
    append.num_sequences = batch;
    append.pages = args.pages;
    append.rope = args.rope;
    append.rope_positions = args.key_positions;
    if (Appends(*c)) {
      status = internal::CheckAppend(append);
      if (!status.ok()) return status;
    }
    const auto reached = [&](const ConstTensorView& cache) {
      if (args.pages.any()) return cache;
      return TokensOf(cache, 0,
                      std::min(cache.seqlen(), c->plan.shape.seqlen_k));
    };
    c->attention.key = reached(args.key_cache);
    c->attention.value = reached(args.value_cache);
    c->attention.pages = args.pages;
    c->attention.ragged.num_sequences = batch;
    c->attention.ragged.seqlens_k = m.seqlens_k;
  }
  if (batch == 0) return Status();
  return internal::CheckArgs(c->plan.attention, c->attention);
}

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
  if (status.ok() && Appends(c)) status = AppendKv(c.append, executor);
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
  if (plan.ops == nullptr) return Invalid("plan", "was not made");
  const int workers = executor.max_workers;
  Call call = {plan, args, {}, {}, {}, {}, {}, {}, {}, {}};
  if (call.args.key.absent()) call.args.key = args.query;
  if (call.args.value.absent()) call.args.value = call.args.key;
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
  status = Prepare(&call);
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
