// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs of scans: what is checked, and into how many tasks a call is cut.
#include <algorithm>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/own_workspace.h"
#include "lib/core/parallel.h"
#include "lib/linear/check_scan.h"
#include "lib/linear/scan_layout.h"
#include "lib/linear/scan_task.h"
#include "lib/linear/scan_tensors.h"
#include "lib/linear/scan_tuning.h"

namespace heed {
namespace internal {
namespace {

// Columns of a head are split over tasks only where heads alone would leave
// workers idle: each split prepares the chunks anew.
int64_t SplitsOf(int64_t heads, int64_t tiles, int64_t workers) {
  if (tiles <= 1 || heads >= 4 * workers || heads % workers == 0) return 1;
  return std::min(tiles, (2 * workers + heads - 1) / heads);
}

// Heads of single tokens that a task takes one after the other, so that each
// fetches the state of the next: where there are enough for all workers.
int64_t StepsOf(int64_t heads, int64_t workers) {
  return std::clamp<int64_t>(heads / (4 * workers), 1, kMaxSteps);
}

// Whether each sequence is a single token.
bool SingleTokens(const ScanArgs& args, int64_t seqlen) {
  if (args.cu_seqlens == nullptr) return seqlen == 1;
  bool single = seqlen == args.num_sequences;
  for (int64_t s = 0; single && s < args.num_sequences; ++s) {
    single = args.cu_seqlens[s + 1] - args.cu_seqlens[s] == 1;
  }
  return single;
}

}  // namespace
}  // namespace internal

Status RunScan(const ScanPlan& plan, const ScanArgs& args, Workspace workspace,
               const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (!status.ok()) return status;
  if (plan.table == nullptr) return internal::Invalid("plan", "was not made");
  status = internal::CheckScanArgs(plan, args);
  if (!status.ok()) return status;
  const int workers = executor.max_workers;
  status = internal::CheckScanWorkspace(plan, args, workspace, workers);
  if (!status.ok()) return status;
  const int64_t seqlen =
      args.key.absent() ? args.query.seqlen() : args.key.seqlen();
  const bool columns = plan.shape.head_dim_v > 0;
  const bool rows = !args.out.absent() && seqlen > 0 && columns;
  const bool states = !args.final_state.absent() && columns;
  // Nor is there memory then that would bound the number of sequences.
  if (!rows && !states && args.final_sum.absent()) return Status();
  internal::ScanRun run = {plan, args, workspace, 0, 0, 1, 0, 1};
  internal::ForEachScanTensor(run.args, [](auto& view, const auto&, auto) {
    view = internal::UsedStrides(view);
  });
  run.sequences = args.cu_seqlens != nullptr ? args.num_sequences
                  : args.key.absent()        ? args.query.batch()
                                             : args.key.batch();
  run.tiles = internal::NumTiles(plan);
  run.heads = run.sequences * plan.num_state_heads;
  // Every split starts from the sums: where the first stores them in the same
  // place, others may come too late.
  const bool sums_in_place =
      !args.final_sum.absent() && args.initial_sum.data == args.final_sum.data;
  run.splits =
      sums_in_place ? 1 : internal::SplitsOf(run.heads, run.tiles, workers);
  if (run.splits == 1 && internal::SingleTokens(run.args, seqlen)) {
    run.run = internal::StepsOf(run.heads, workers);
  }
  const int64_t tasks = (run.heads + run.run - 1) / run.run * run.splits;
  return internal::ParallelFor(executor, tasks, workers, &run,
                               &internal::RunScanTask);
}

Status Scan(const ScanParams& params, const ScanArgs& args,
            const Executor& executor) {
  ScanPlan plan;
  const Status status =
      MakeScanPlan(params, ShapeOf(args), ScanOptions(), &plan);
  if (!status.ok()) return status;
  return internal::WithWorkspace(
      ScanWorkspaceBytes(plan, executor.max_workers), [&](Workspace workspace) {
        return RunScan(plan, args, workspace, executor);
      });
}

}  // namespace heed
