// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs for hosts that bring their threads: checked and laid out once, then
// phases of tasks. Run (attention.cc) stands on these.
#include <cstdint>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/parts.h"
#include "lib/core/run_task.h"
#include "lib/core/sequences.h"
#include "lib/core/tensors.h"
#include "lib/core/work.h"

namespace heed {

Status BeginRun(const Plan& plan, const AttentionArgs& args,
                Workspace workspace, int workers, const RunOptions& options,
                AttentionRun* run) {
  if (run == nullptr) {
    return Status(StatusCode::kInvalidArgument, "run", "is null");
  }
  if (plan.table == nullptr) {
    return Status(StatusCode::kInvalidArgument, "plan", "was not made");
  }
  if (workers < 1) {
    return Status(StatusCode::kInvalidArgument, "workers", "must be positive")
        .WithValue(workers)
        .WithBound(1, BoundKind::kSaid);
  }
  Status status = internal::CheckArgs(plan, args);
  if (!status.ok()) return status;
  status = internal::CheckWorkspace(plan, args, workspace, workers);
  if (!status.ok()) return status;

  AttentionRun made;
  made.plan = plan;
  made.args = args;
  internal::ForEachTensor(made.args, plan.shape.scores,
                          [](auto& view, const auto&, auto) {
                            view = internal::UsedStrides(view);
                          });
  made.workspace = workspace;
  made.workers = workers;
  made.barriers = options.barriers;
  made.causal_offset = internal::Resolved(
      plan.params.causal_offset, args.query.seqlen(), args.key.seqlen());
  const bool nothing = args.query.batch() == 0 || args.query.seqlen() == 0 ||
                       args.query.heads() == 0 ||
                       (plan.shape.head_dim_v == 0 && args.lse.absent());
  if (!nothing) {
    internal::LayOutWork(&made);
    internal::PrepareWorkspace(made);
  }
  *run = made;
  return Status();
}

int NumPhases(const AttentionRun& run) { return run.num_phases; }

int64_t NumTasks(const AttentionRun& run, int phase) {
  if (phase < 0 || phase >= run.num_phases) return 0;
  if (internal::InParts(run)) return internal::NumPartTasks(run, phase);
  if (run.split_items == 0) return run.whole_tasks;
  if (!run.barriers) return run.split_items + run.whole_tasks;
  const internal::ItemRange items = internal::RoundItems(run, phase / 2);
  if (phase % 2 == 1) return internal::RoundTiles(run, items).count();
  return items.count() + (phase + 2 == run.num_phases ? run.whole_tasks : 0);
}

void RunTask(const AttentionRun& run, int phase, int64_t i, int worker) {
  if (i < 0 || i >= NumTasks(run, phase) || worker < 0 ||
      worker >= run.workers) {
    return;
  }
  if (internal::InParts(run)) {
    internal::RunPartTask(run, phase, i, worker);
  } else if (run.split_items == 0) {
    internal::RunWhole(run, i, worker);
  } else if (!run.barriers) {
    if (i < run.split_items) {
      internal::RunUnitAndMerge(run, i, worker);
    } else {
      internal::RunWhole(run, i - run.split_items, worker);
    }
  } else if (phase % 2 == 0) {
    const internal::ItemRange items = internal::RoundItems(run, phase / 2);
    if (i < items.count()) {
      internal::RunUnit(run, items.first + i, i, worker);
    } else {
      internal::RunWhole(run, i - items.count(), worker);
    }
  } else {
    internal::RunMerge(run, phase / 2, i, worker);
  }
}

}  // namespace heed
