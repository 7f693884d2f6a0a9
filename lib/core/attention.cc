// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs on an executor, and the one-shot call.
#include "heed/attention.h"

#include <algorithm>

#include "lib/core/check.h"
#include "lib/core/own_workspace.h"
#include "lib/core/parallel.h"

namespace heed {
namespace {

struct PhaseContext {
  const AttentionRun* run;
  int phase;
};

void RunPhaseTask(void* ctx, int64_t i, int worker) {
  const PhaseContext& context = *static_cast<const PhaseContext*>(ctx);
  RunTask(*context.run, context.phase, i, worker);
}

}  // namespace

Status Run(const Plan& plan, const AttentionArgs& args, Workspace workspace,
           const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (!status.ok()) return status;
  AttentionRun run;
  status =
      BeginRun(plan, args, workspace, executor.max_workers, RunOptions(), &run);
  if (!status.ok()) return status;
  for (int phase = 0; phase < NumPhases(run); ++phase) {
    PhaseContext context = {&run, phase};
    status = internal::ParallelFor(executor, NumTasks(run, phase), run.workers,
                                   &context, &RunPhaseTask);
    if (!status.ok()) return status;
  }
  return Status();
}

Status Attention(const AttentionParams& params, const AttentionArgs& args,
                 const Executor& executor) {
  Plan plan;
  const Status status = MakePlan(params, ShapeOf(args), PlanOptions(), &plan);
  if (!status.ok()) return status;
  Executor used = executor;
  used.max_workers = std::max(executor.max_workers, 1);
  return internal::WithWorkspace(WorkspaceBytes(plan, used.max_workers),
                                 [&](Workspace workspace) {
                                   return Run(plan, args, workspace, executor);
                                 });
}

}  // namespace heed
