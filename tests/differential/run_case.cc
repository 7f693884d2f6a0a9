// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A case on every table that this CPU offers, against the page that defines the
// bits; tables without FMA against double, by the bound that all tests use, and
// units against double by their own, and against themselves run in another way.
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

// The name of the unit that serves tiles of a case on a table; null for none.
const char* UnitFor(const FuzzCase& c, const std::string& target) {
  bool serves = c.fast != 0 && c.key_rotated == 0 && c.value_rotated == 0;
  for (const Placement* p : {&c.query, &c.key, &c.value}) {
    serves = serves && DTypeOf(*p) == DType::kBF16;
  }
  for (int i = 0; i < NumUnits() && serves; ++i) {
    const UnitInfo unit = GetUnit(i);
    if (target != unit.target || !unit.usable) continue;
    if (c.named != 0 || unit.used) return unit.name;
  }
  return nullptr;
}

// Sets whether a unit made the result.
Status RunOnTable(const FuzzCase& c, const std::string& target,
                  FuzzTensors* tensors, bool* by_unit) {
  const char* const unit = UnitFor(c, target);
  PlanOptions options;
  options.numerics = c.fast != 0 ? Numerics::kFast : Numerics::kSame;
  if (c.named != 0) options.unit = unit;
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
  *by_unit = unit != nullptr && c.rows * c.group > plan.decode_rows;
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
    // An f16 ends where the others do not.
    if (dtype == DType::kF16 && std::isinf(got[i]) &&
        std::copysign(w, got[i]) == w && std::fabs(w) + bound >= 65520) {
      continue;
    }
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
  std::unique_ptr<Truth> truth;  // null until it is asked for
};

std::vector<float> LseOf(const FuzzCase& c, const FuzzTensors& tensors) {
  return c.no_lse != 0 ? std::vector<float>() : tensors.lse.Numbers();
}

std::string CompareBits(const FuzzCase& c, const FuzzTensors& tensors,
                        const Wanted& want) {
  const std::string different =
      CompareBits("out", tensors.out.Numbers(), want.out);
  return different.empty() ? CompareBits("lse", LseOf(c, tensors), want.lse)
                           : different;
}

std::string CompareNear(const FuzzCase& c, const FuzzTensors& tensors,
                        const Truth& truth, const DoubleBound& bound) {
  const std::string different =
      CompareNear("out", tensors.out.Numbers(), truth.out(), bound.out,
                  tensors.args.out.dtype);
  if (!different.empty()) return different;
  return CompareNear("lse", LseOf(c, tensors), truth.lse(), bound.lse,
                     DType::kF32);
}

// Runs a case. Returns what went wrong.
std::string RunCleanly(const FuzzCase& c, const std::string& target,
                       FuzzTensors* tensors, bool* by_unit) {
  tensors->out.Clear();
  tensors->lse.Clear();
  const Status status = RunOnTable(c, target, tensors, by_unit);
  if (!status.ok()) return ToString(status);
  if (!tensors->out.PaddingIntact()) return "written outside out";
  if (!tensors->lse.PaddingIntact()) return "written outside lse";
  return "";
}

// Whether a unit's result has the same bits run in another way.
std::string CompareOtherWay(const FuzzCase& c, const std::string& target,
                            const FuzzTensors& tensors) {
  static FuzzTensors others;
  const FuzzCase other = OtherWayOf(c);
  SetGuardContext(TextOf(other));
  others.Set(other);
  bool by_unit;
  std::string wrong = RunCleanly(other, target, &others, &by_unit);
  if (wrong.empty()) {
    const Wanted want = {tensors.out.Numbers(), LseOf(c, tensors), nullptr};
    wrong = CompareBits(other, others, want);
  }
  SetGuardContext(TextOf(c));
  return wrong.empty() ? "" : "run as '" + TextOf(other) + "': " + wrong;
}

// Runs a case on a table and compares.
std::string RunOn(const FuzzCase& c, const std::string& target,
                  FuzzTensors* tensors, Wanted* want) {
  bool by_unit = false;
  const std::string wrong = RunCleanly(c, target, tensors, &by_unit);
  if (!wrong.empty()) return wrong;
  if (HasSameBits(target) && !by_unit) return CompareBits(c, *tensors, *want);
  if (FitForDouble(c)) {
    if (want->truth == nullptr) {
      want->truth = std::make_unique<Truth>(ParamsOf(c), tensors->pooled);
    }
    const Truth& truth = *want->truth;
    const std::string far =
        CompareNear(c, *tensors, truth,
                    by_unit ? UnitBoundOf(c, *tensors, truth)
                            : BoundOf(c, *tensors, truth));
    if (!far.empty()) return far;
  }
  return by_unit ? CompareOtherWay(c, target, *tensors) : "";
}

}  // namespace

std::string RunCase(const FuzzCase& c) {
  static FuzzTensors tensors;
  static const std::vector<std::string> targets = UsableTargets();
  SetGuardContext(TextOf(c));
  tensors.Set(c);
  Wanted want;
  oracle::AttentionBits(ParamsOf(c), tensors.args);
  want.out = tensors.out.Numbers();
  want.lse = LseOf(c, tensors);
  for (const std::string& target : targets) {
    const std::string wrong = RunOn(c, target, &tensors, &want);
    if (!wrong.empty()) return "on " + target + ": " + wrong;
  }
  return "";
}

}  // namespace heed::test
