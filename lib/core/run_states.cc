// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention up to the states of spans: a task is one state of one tile.
#include <algorithm>
#include <cstdint>

#include "heed/states.h"
#include "lib/core/check.h"
#include "lib/core/layout.h"
#include "lib/core/parallel.h"
#include "lib/core/states.h"
#include "lib/core/tile.h"
#include "lib/core/work.h"

namespace heed {
namespace {

using internal::Invalid;
using internal::kStatesName;
using internal::TensorName;
using internal::TensorRole;

// The plan's masks, which must say where rows stand.
Status CheckMasks(const Plan& plan, const Shard& shard) {
  const AttentionParams& params = plan.params;
  const bool placed =
      params.causal || params.window_left >= 0 || params.window_right >= 0;
  if (placed && params.causal_offset == kBottomRight) {
    return Invalid("causal_offset", "must be given for a shard");
  }
  return internal::CheckShard(shard);
}

Status CheckStates(const Plan& plan, const AttentionArgs& args,
                   const Shard& shard, Workspace workspace, int workers,
                   const TensorView& states) {
  Status status = internal::CheckF32(states, kStatesName);
  if (status.ok()) {
    status = internal::CheckView(states, kStatesName, TensorRole::kOutput);
  }
  if (!status.ok()) return status;
  int64_t batch;
  if (__builtin_mul_overflow(NumStates(shard, args.key.seqlen()),
                             args.query.batch(), &batch)) {
    return Status(StatusCode::kOverflow, "states", "leave 64 bits");
  }
  const int64_t want[4] = {batch, args.query.seqlen(), args.query.heads(),
                           2 + plan.shape.head_dim_v};
  for (int i = 0; i < 4; ++i) {
    if (states.extent[i] == want[i]) continue;
    return Invalid("states",
                   "must be [states * batch, seqlen_q, num_heads, 2 "
                   "+ head_dim_v]")
        .WithIndex(i)
        .WithValue(states.extent[i])
        .WithBound(want[i], BoundKind::kNeeds);
  }
  internal::ForEachTensor(
      args, [&](const auto& view, const TensorName& name, TensorRole) {
        if (!status.ok()) return;
        status = internal::CheckView(view, name, TensorRole::kInput);
        if (!status.ok()) return;
        status = internal::CheckOverlap(states, kStatesName, view, name);
      });
  if (!status.ok() || workspace.data == nullptr) return status;
  const ConstTensorView memory =
      Bshd(static_cast<const int8_t*>(workspace.data), 1, 1, 1,
           static_cast<int64_t>(
               std::min(workspace.bytes, WorkspaceBytes(plan, workers))));
  return internal::CheckOverlap(memory, {"workspace", nullptr}, states,
                                kStatesName);
}

// The call with outputs that pass for those of Run: parts of the first states.
AttentionArgs WithOutputs(const Plan& plan, AttentionArgs args,
                          const TensorView& states) {
  TensorView view = states;
  view.extent[0] = args.query.batch();
  if (plan.shape.head_dim_v > 0) {
    args.out = view;
    args.out.dtype = plan.shape.out_dtype;
    args.out.stride[3] = SizeOf(plan.shape.out_dtype);
    args.out.extent[3] = plan.shape.head_dim_v;
  } else {
    args.out.dtype = plan.shape.out_dtype;
    for (int i = 0; i < 3; ++i) args.out.extent[i] = args.query.extent[i];
    args.lse = view;
    args.lse.extent[3] = 1;
  }
  return args;
}

struct StatesContext {
  const AttentionRun* run;
  TensorView states;
  int64_t num_states;
  int64_t state_spans;
};

void RunState(void* ctx, int64_t task, int worker) {
  const StatesContext& c = *static_cast<const StatesContext*>(ctx);
  const AttentionRun& run = *c.run;
  char* const base = static_cast<char*>(run.workspace.data) +
                     internal::SharedBytes(run.plan, run.workers) +
                     worker * run.plan.tile_bytes;
  internal::TileWork work;
  if (!internal::OpenTile(run, run.all, task / c.num_states, base, &work))
    return;
  internal::PackTile(run, &work);
  const int64_t j = task % c.num_states;
  void* const* states = work.memory.states;
  const int64_t all = NumStates(Shard(), run.args.key.seqlen());
  const int64_t end = std::min((j + 1) * c.state_spans, all);
  bool any = false;
  for (int64_t span = j * c.state_spans; span < end; ++span) {
    if (!internal::SpanHasKeys(work, span)) continue;
    work.tile.state = any ? states[1] : states[0];
    internal::AttendSpan(run, span, &work);
    work.tile.state = states[0];
    if (any) work.item.kernel->merge(work.tile, states[1]);
    any = true;
  }
  if (!any) work.item.kernel->clear(work.tile);
  TensorView to = c.states;
  to.data =
      static_cast<char*>(to.data) + j * run.args.query.batch() * to.stride[0];
  internal::SaveTile(to, &work);
}

}  // namespace

Status RunStates(const Plan& plan, const AttentionArgs& args,
                 const Shard& shard, Workspace workspace,
                 const Executor& executor, const TensorView& states) {
  Status status = internal::CheckExecutor(executor);
  if (!status.ok()) return status;
  if (plan.table == nullptr) return Invalid("plan", "was not made");
  status = CheckMasks(plan, shard);
  if (!status.ok()) return status;
  if (!args.out.absent()) return Invalid("out", "must be absent");
  if (!args.lse.absent()) return Invalid("lse", "must be absent");
  if (args.ragged.num_sequences != 0 || args.pages.any() ||
      plan.shape.num_sequences != 0) {
    return Status(StatusCode::kUnsupported, "ragged",
                  "is not offered for states");
  }
  if (plan.shape.scores) {
    return Status(StatusCode::kUnsupported, "scores",
                  "are not offered for states");
  }
  const int workers = executor.max_workers;
  status = CheckStates(plan, args, shard, workspace, workers, states);
  if (!status.ok()) return status;
  StatesContext context;
  context.num_states = NumStates(shard, args.key.seqlen());
  if (context.num_states == 0) return Status();
  AttentionRun run;
  status = BeginRun(plan, WithOutputs(plan, args, states), workspace, workers,
                    {}, &run);
  if (status.ok()) {
    status = internal::CheckArrayOverlaps(args, states, kStatesName);
  }
  if (!status.ok() || NumPhases(run) == 0) return status;
  context.run = &run;
  context.states = internal::UsedStrides(states);
  context.state_spans = shard.whole_groups ? kGroupStateKeys / kStateKeys : 1;
  return internal::ParallelFor(executor,
                               internal::NumTiles(run.all) * context.num_states,
                               workers, &context, &RunState);
}

}  // namespace heed
