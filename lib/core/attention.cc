// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs on an executor, and the one-shot call.
#include "heed/attention.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "lib/core/check.h"

namespace heed {
namespace {

struct PhaseContext {
  const AttentionRun* run;
  int phase;
  std::atomic<int64_t> done{0};
  std::atomic<uint64_t> marks{0};  // the sum of Mark(i)
};

// Marks of different tasks add up differently, but for a chance in 2^64: so a
// task that ran in another's place is noticed (the finaliser of MurmurHash3).
uint64_t Mark(int64_t i) {
  uint64_t mark = static_cast<uint64_t>(i) + 1;
  mark = (mark ^ mark >> 33) * 0xff51afd7ed558ccdu;
  mark = (mark ^ mark >> 33) * 0xc4ceb9fe1a85ec53u;
  return mark ^ mark >> 33;
}

void RunPhaseTask(void* ctx, int64_t i, int worker) {
  PhaseContext& context = *static_cast<PhaseContext*>(ctx);
  const AttentionRun& run = *context.run;
  if (i < 0 || i >= NumTasks(run, context.phase) || worker < 0 ||
      worker >= run.workers) {
    return;  // missed in the count below
  }
  RunTask(run, context.phase, i, worker);
  context.done.fetch_add(1, std::memory_order_relaxed);
  context.marks.fetch_add(Mark(i), std::memory_order_relaxed);
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
    const int64_t tasks = NumTasks(run, phase);
    if (tasks == 1) {
      // Not worth waking anyone.
      RunTask(run, phase, 0, 0);
      continue;
    }
    PhaseContext context;
    context.run = &run;
    context.phase = phase;
    executor.parallel_for(executor.self, tasks, &context, &RunPhaseTask);
    const int64_t done = context.done.load(std::memory_order_relaxed);
    uint64_t marks = context.marks.load(std::memory_order_relaxed);
    for (int64_t i = 0; i < tasks; ++i) marks -= Mark(i);
    if (done != tasks || marks != 0) {
      return Status(StatusCode::kInternal, "executor",
                    "dropped or repeated tasks, or gave a worker that does "
                    "not exist")
          .WithValue(done)
          .WithBound(tasks, BoundKind::kOf)
          .WithUnit("tasks");
    }
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
  Workspace workspace;
  workspace.bytes = WorkspaceBytes(plan, used.max_workers);
  workspace.data = std::aligned_alloc(
      kWorkspaceAlignment, (workspace.bytes + kWorkspaceAlignment - 1) /
                               kWorkspaceAlignment * kWorkspaceAlignment);
  if (workspace.data == nullptr) {
    return Status(StatusCode::kOutOfMemory, "workspace",
                  "the system gave no memory for it")
        .WithBound(static_cast<int64_t>(workspace.bytes), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  const Status result = Run(plan, args, workspace, executor);
  std::free(workspace.data);
  return result;
}

}  // namespace heed
