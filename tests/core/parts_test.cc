// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Spans cut into parts of keys and of columns, where there are more workers
// than spans: the bits of whole spans, and whether there is work for all.
#include "lib/core/parts.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// One run of a problem on so many workers, laid out and not computed.
class Laid {
 public:
  Laid(const std::string& target, const eval::Tensors& tensors, int workers,
       bool barriers = true) {
    PlanOptions options;
    options.target = target.c_str();
    options.numerics = Numerics::kSame;
    const Status made = MakePlan(tensors.problem.params,
                                 ShapeOf(tensors.Args()), options, &plan_);
    EXPECT_TRUE(made.ok()) << ToString(made);
    workspace_.emplace_back(WorkspaceBytes(plan_, workers));
    RunOptions run_options;
    run_options.barriers = barriers;
    const Status begun = BeginRun(plan_, tensors.Args(), workspace_[0].get(),
                                  workers, run_options, &run_);
    EXPECT_TRUE(begun.ok()) << ToString(begun);
  }
  bool in_parts() const { return internal::InParts(run_); }
  const Plan& plan() const { return plan_; }
  const AttentionRun& run() const { return run_; }

 private:
  Plan plan_;
  std::vector<WorkspaceBuffer> workspace_;
  AttentionRun run_;
};

class Parts : public OnEveryTarget {
 protected:
  void Check(const eval::Tensors& tensors) {
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    for (const int workers : {16, 64}) {
      if (Quick() && workers == 16) continue;
      SCOPED_TRACE(workers);
      const Laid laid(GetParam(), tensors, workers);
      // The plain table has no decode kernel.
      EXPECT_EQ(laid.in_parts(), laid.plan().decode_rows > 0);
      EXPECT_FALSE(Laid(GetParam(), tensors, workers, false).in_parts());
      checker.Check(RunConfig{GetParam(), 0, workers});
    }
  }
  void Check(const std::string& text) {
    SCOPED_TRACE(text);
    Check(eval::MakeTensors(ProblemOf(text), {}));
  }
};

TEST_P(Parts, ShapesAndMasks) {
  Check("h1_d3_dv70_q1_k1100");
  Check("h2_kv1_d4_dv33_q1_k4500_causal_wl3000_sink9");
  if (Quick()) return;
  Check("h1_d5_dv16_q2_k8200_causal");
  Check("b2_h1_d4_dv49_q1_k2000");
  Check("h1_d4_dv40_q3_k5000_off700_wr600_sink4300");
  Check("h3_kv1_d8_dv129_q1_k1300_cap5");
  Check("h1_d7_dv0_q1_k3000");
}

TEST_P(Parts, Types) {
  std::vector<std::string> types = {"_kvu4", "_kve4m3"};
  if (!Quick()) types.insert(types.end(), {"_kvi8", "_kve5m2"});
  // The bound of tables without FMA is for out of f32.
  if (HasSameBits(GetParam())) types.insert(types.end(), {"_bf16", "_f16"});
  for (const std::string& type : types) {
    Check("h1_d32_dv96_q2_k1500_causal" + type);
  }
}

// Groups of two spans and more: states merge in two levels.
TEST_P(Parts, BeyondAGroupOfSpans) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h1_d2_dv17_q1_k70000"), {});
  const Checker checker(GetParam(), tensors.problem.params, tensors);
  const Laid laid(GetParam(), tensors, 40);
  EXPECT_EQ(laid.in_parts(), laid.plan().decode_rows > 0);
  checker.Check(RunConfig{GetParam(), 0, 40});
}

// Values that are not finite where no row, and where only one row sees them.
TEST_P(Parts, ValuesThatAreNotFinite) {
  const eval::Tensors tensors = eval::MakeTensors(
      ProblemOf("h1_d4_dv40_q2_k1500_causal_wl1200_sink3"), {});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  tensors.value.At(0, 100, 0)[20] = nan;
  tensors.value.At(0, 1499, 0)[3] = inf;
  tensors.value.At(0, 1499, 0)[39] = nan;
  Check(tensors);
}

// What counts is what rows see, not what the cache holds.
TEST_P(Parts, ShortWindowsAreNotWorthThem) {
  for (const auto& [text, seen] :
       {std::pair("h1_d4_dv40_q1_k9000_causal_wl127", false),
        {"h1_d4_dv40_q2_k9000_causal_wl700_sink64", false},
        {"h1_d4_dv40_q1_k9000_causal_wl3000", true}}) {
    SCOPED_TRACE(text);
    const Laid laid(GetParam(), eval::MakeTensors(ProblemOf(text), {}), 64);
    EXPECT_EQ(laid.in_parts(), seen && laid.plan().decode_rows > 0);
  }
}

HEED_ON_EVERY_TARGET(Parts);

// One token over 8,192 keys, 8 heads of 128: 16 spans, on 64 workers.
TEST(PartsBalance, EveryWorkerHasWork) {
  constexpr int kWorkers = 64;
  static constexpr float kInputs[128] = {};
  std::vector<float> out(8 * 128);
  AttentionArgs args;
  args.query = Strided(kInputs, 1, 1, 8, int64_t{128}, 0, 0, 0);
  args.key = Strided(kInputs, 1, 8192, 8, int64_t{128}, 0, 0, 0);
  args.value = args.key;
  args.out = Bshd(out.data(), 1, 1, 8, 128);
  Plan plan;
  ASSERT_TRUE(MakePlan({}, ShapeOf(args), {}, &plan).ok());
  if (plan.decode_rows == 0) return;  // no decode kernel: nothing is in parts
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, kWorkers));
  AttentionRun run;
  ASSERT_TRUE(BeginRun(plan, args, workspace.get(), kWorkers, {}, &run).ok());
  ASSERT_TRUE(internal::InParts(run));
  EXPECT_EQ(NumTasks(run, 0), 2 * kWorkers) << "scores";
  EXPECT_EQ(NumTasks(run, 1), kWorkers) << "values";
}

}  // namespace
}  // namespace heed::test
