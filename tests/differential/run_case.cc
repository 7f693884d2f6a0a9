// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A case on every table that this CPU offers, against the page that defines the
// bits; tables without FMA against double, by the bound that all tests use.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/differential/double_bound.h"
#include "tests/differential/fuzz_case.h"
#include "tests/differential/fuzz_tensors.h"
#include "tests/support/compare.h"
#include "tests/support/targets.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

// Runs tasks on one thread in an order and on workers that follow from a seed.
class ShuffledExecutor {
 public:
  ShuffledExecutor(int64_t workers, int64_t seed)
      : workers_(static_cast<int>(workers)), seed_(seed) {}

  template <class Function>
  void ForEach(int64_t num_tasks, Function task) {
    std::vector<int64_t> order(static_cast<size_t>(num_tasks));
    std::iota(order.begin(), order.end(), int64_t{0});
    eval::Random random(static_cast<uint64_t>(seed_));
    for (size_t i = order.size(); seed_ != 0 && i > 1; --i) {
      std::swap(
          order[i - 1],
          order[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
    }
    for (const int64_t i : order) {
      task(i, static_cast<int>(random.Below(workers_)));
    }
  }

  operator Executor() { return Executor{this, &ParallelFor, workers_}; }

 private:
  static void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                          void (*task)(void* ctx, int64_t i, int worker)) {
    static_cast<ShuffledExecutor*>(self)->ForEach(
        num_tasks, [&](int64_t i, int worker) { task(ctx, i, worker); });
  }

  int workers_;
  int64_t seed_;
};

Status RunTasks(const FuzzCase& c, const Plan& plan, const AttentionArgs& args,
                Workspace workspace) {
  ShuffledExecutor shuffled(c.workers, c.shuffle);
  if (c.tasks == 0) {
    if (c.threads == 0) return Run(plan, args, workspace, shuffled);
    ThreadExecutor threads(static_cast<int>(c.workers));
    return Run(plan, args, workspace, threads);
  }
  RunOptions options;
  options.barriers = c.free == 0;
  AttentionRun run;
  const Status status = BeginRun(plan, args, workspace,
                                 static_cast<int>(c.workers), options, &run);
  if (!status.ok()) return status;
  for (int phase = 0; phase < NumPhases(run); ++phase) {
    shuffled.ForEach(NumTasks(run, phase), [&](int64_t i, int worker) {
      RunTask(run, phase, i, worker);
    });
  }
  return status;
}

Status RunOnTable(const FuzzCase& c, const std::string& target,
                  FuzzTensors* tensors) {
  PlanOptions options;
  options.numerics = c.fast != 0 ? Numerics::kFast : Numerics::kSame;
  options.target = target.c_str();
  options.lane_groups = static_cast<int>(c.lane_groups);
  options.decode_rows = static_cast<int>(c.decode_rows);
  AttentionShape shape = ShapeOf(c);
  shape.batch += c.slack;
  shape.seqlen_q += c.slack;
  shape.seqlen_k += c.slack;
  Plan plan;
  const Status planned = MakePlan(ParamsOf(c), shape, options, &plan);
  if (!planned.ok()) return planned;
  const size_t bytes = WorkspaceBytes(plan, static_cast<int>(c.workers));
  char* const at = tensors->workspace.Place(
      bytes, c.out.back != 0 ? Against::kBack : Against::kFront);
  std::fill_n(at, bytes, static_cast<char>(0xff));
  return RunTasks(c, plan, tensors->args, {at, bytes});
}

std::string Different(const char* tensor, size_t i, double got, double want) {
  char text[160];
  std::snprintf(text, sizeof(text), "%s[%zu] is %.9g (%a), not %.9g (%a)",
                tensor, i, got, got, want, want);
  return text;
}

// The first of `got` that has other bits than the one of `want`.
std::string CompareBits(const char* tensor, const std::vector<float>& got,
                        const std::vector<float>& want) {
  for (size_t i = 0; i < got.size(); ++i) {
    if (CanonicalBits(got[i]) == CanonicalBits(want[i])) continue;
    return Different(tensor, i, got[i], want[i]);
  }
  return "";
}

std::string CompareNear(const char* tensor, const std::vector<float>& got,
                        const std::vector<double>& want, double bound,
                        DType dtype) {
  for (size_t i = 0; i < got.size(); ++i) {
    const double w = want[i];
    // Half a unit of the output's type beside the bound, as it is rounded.
    const double unit = dtype == DType::kF32    ? 0x1p-24
                        : dtype == DType::kBF16 ? 0x1p-8
                                                : 0x1p-11;
    const bool near =
        std::isnan(w) ? std::isnan(got[i])
        : std::isinf(w)
            ? got[i] == w
            : std::fabs(got[i] - w) <= bound + unit * std::fabs(w) +
                                           (dtype == DType::kF16 ? 0x1p-25 : 0);
    if (!near) return Different(tensor, i, got[i], w);
  }
  return "";
}

// The right results of a case.
struct Wanted {
  std::vector<float> out, lse;
  std::unique_ptr<Truth> truth;  // null where not FitForDouble
};

std::string Compare(const FuzzCase& c, const std::string& target,
                    const FuzzTensors& tensors, const Wanted& want) {
  if (!tensors.out.PaddingIntact()) return "written outside out";
  if (!tensors.lse.PaddingIntact()) return "written outside lse";
  const std::vector<float> out = tensors.out.Numbers();
  const std::vector<float> lse =
      c.no_lse != 0 ? std::vector<float>() : tensors.lse.Numbers();
  if (HasSameBits(target)) {
    const std::string different = CompareBits("out", out, want.out);
    return different.empty() ? CompareBits("lse", lse, want.lse) : different;
  }
  if (want.truth == nullptr) return "";
  const DoubleBound bound = BoundOf(c, tensors, *want.truth);
  const std::string different = CompareNear("out", out, want.truth->out(),
                                            bound.out, tensors.args.out.dtype);
  if (!different.empty()) return different;
  return CompareNear("lse", lse, want.truth->lse(), bound.lse, DType::kF32);
}

}  // namespace

std::string RunCase(const FuzzCase& c) {
  static FuzzTensors tensors;
  static const std::vector<std::string> targets = UsableTargets();
  SetGuardContext(TextOf(c));
  tensors.Set(c);
  const AttentionParams params = ParamsOf(c);
  Wanted want;
  oracle::AttentionBits(params, tensors.args);
  want.out = tensors.out.Numbers();
  if (c.no_lse == 0) want.lse = tensors.lse.Numbers();
  for (const std::string& target : targets) {
    if (!HasSameBits(target) && want.truth == nullptr && FitForDouble(c)) {
      want.truth = std::make_unique<Truth>(params, tensors.args);
    }
    tensors.out.Clear();
    tensors.lse.Clear();
    const Status status = RunOnTable(c, target, &tensors);
    if (!status.ok()) return "on " + target + ": " + ToString(status);
    const std::string different = Compare(c, target, tensors, want);
    if (!different.empty()) return "on " + target + ": " + different;
  }
  return "";
}

}  // namespace heed::test
