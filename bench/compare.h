// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Two ways to do the same, measured in turns.
#ifndef HEED_BENCH_COMPARE_H_
#define HEED_BENCH_COMPARE_H_

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "bench/bench.h"
#include "heed/attention.h"

namespace heed::bench {

struct FreeMemory {
  void operator()(void* data) const { std::free(data); }
};

// A plan for some arguments, with its workspace.
class Call {
 public:
  Call(const AttentionParams& params, const AttentionArgs& args,
       const AttentionShape& shape, const Executor& executor,
       const PlanOptions& options = {})
      : args_(args), executor_(executor) {
    ok_ = MakePlan(params, shape, options, &plan_).ok();
    if (!ok_) return;
    workspace_.bytes = WorkspaceBytes(plan_, executor.max_workers);
    memory_.reset(std::aligned_alloc(
        kWorkspaceAlignment, (workspace_.bytes + kWorkspaceAlignment - 1) /
                                 kWorkspaceAlignment * kWorkspaceAlignment));
    workspace_.data = memory_.get();
  }
  bool Run() const { return Run(args_); }
  bool Run(const AttentionArgs& args) const {
    return ok_ && heed::Run(plan_, args, workspace_, executor_).ok();
  }

 private:
  AttentionArgs args_;
  Executor executor_;
  Plan plan_;
  bool ok_ = false;
  Workspace workspace_;
  std::unique_ptr<void, FreeMemory> memory_;
};

// Runs both in turns. The time is that of the second, which does `work` of what
// the first does.
template <class First, class Second>
void Compare(benchmark::State& state, const First& first, const Second& second,
             const char* of_first, double work = 1.0) {
  using Clock = std::chrono::steady_clock;
  double best[2] = {1e30, 1e30};
  for (auto _ : state) {
    const Clock::time_point start = Clock::now();
    bool ok = first();
    const Clock::time_point middle = Clock::now();
    ok = second() && ok;
    const Clock::time_point end = Clock::now();
    if (!ok) return state.SkipWithError("the run was refused");
    const std::chrono::duration<double> times[2] = {middle - start,
                                                    end - middle};
    for (int i = 0; i < 2; ++i) best[i] = std::min(best[i], times[i].count());
    state.SetIterationTime(times[1].count());
  }
  state.counters["best_us"] = best[1] * 1e6;
  char label[64];
  std::snprintf(label, sizeof label, "%.3f of the speed of %s",
                work * best[0] / best[1], of_first);
  state.SetLabel(label);
}

}  // namespace heed::bench

#endif  // HEED_BENCH_COMPARE_H_
