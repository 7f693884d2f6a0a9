// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs for hosts that bring their threads: checked and laid out once, then
// phases of tasks. Run (attention.cc) stands on these.
#include <cstdint>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/run_task.h"
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
  internal::ForEachTensor(made.args, [](auto& view, const auto&, auto) {
    view = internal::UsedStrides(view);
  });
  made.workspace = workspace;
  made.workers = workers;
  made.barriers = options.barriers;
  made.causal_offset = plan.params.causal_offset == kBottomRight
                           ? args.key.seqlen() - args.query.seqlen()
                           : plan.params.causal_offset;
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
  if (!run.split) {
    return (internal::NumTiles(run) - 1) / run.tiles_per_task + 1;
  }
  if (!run.barriers) return internal::NumItems(run);
  const internal::ItemRange items = internal::RoundItems(run, phase / 2);
  if (phase % 2 == 0) return items.last - items.first;
  return (items.last - 1) / run.num_units - items.first / run.num_units + 1;
}

void RunTask(const AttentionRun& run, int phase, int64_t i, int worker) {
  if (i < 0 || i >= NumTasks(run, phase) || worker < 0 ||
      worker >= run.workers) {
    return;
  }
  if (!run.split) {
    const int64_t tiles = internal::NumTiles(run);
    for (int64_t t = 0; t < run.tiles_per_task; ++t) {
      const int64_t tile = i * run.tiles_per_task + t;
      if (tile < tiles) internal::RunTile(run, tile, worker);
    }
  } else if (!run.barriers) {
    internal::RunUnitAndMerge(run, i, worker);
  } else if (phase % 2 == 0) {
    const int64_t first = internal::RoundItems(run, phase / 2).first;
    internal::RunUnit(run, first + i, i, worker);
  } else {
    internal::RunMerge(run, phase / 2, i, worker);
  }
}

}  // namespace heed
