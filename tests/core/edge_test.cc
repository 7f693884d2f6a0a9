// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The ends of what is allowed: nothing to do, nothing to see, one of each, and
// what an embedding host does around a call.
#include <fenv.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/float_control.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class Edge : public OnEveryTarget {
 protected:
  Status Run(const AttentionParams& params, const AttentionArgs& args) {
    return RunOn(RunConfig{GetParam()}, params, args);
  }
};

// No batch, no heads, no queries or no width of values: fine, nothing written.
TEST_P(Edge, NothingToWrite) {
  for (const char* text :
       {"b0_h2_d8_q3_k4", "h0_kv0_d8_q3_k4", "h0_kv2_d8_q3_k4", "h2_d8_q0_k4",
        "b0_h0_kv0_d1_dv0_q0_k0"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Status status = Run({}, tensors.Args());
    EXPECT_TRUE(status.ok()) << text << ": " << ToString(status);
    EXPECT_TRUE(Untouched(tensors.out)) << text;
    EXPECT_TRUE(Untouched(tensors.lse)) << text;
  }
}

// Null pointers where there are no elements behind them.
TEST_P(Edge, NullWithoutElements) {
  eval::Tensors tensors = eval::MakeTensors(ProblemOf("h2_d8_q3_k0"), {});
  AttentionArgs args = tensors.Args();
  args.key.data = nullptr;
  args.value.data = nullptr;
  Status status = Run({}, args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  for (const float x : tensors.out.Dense()) EXPECT_EQ(x, 0.0f);
  for (const float x : tensors.lse.Dense()) EXPECT_EQ(x, -kInf);

  tensors = eval::MakeTensors(ProblemOf("h2_d8_q0_k3"), {});
  args = tensors.Args();
  args.query.data = nullptr;
  args.out.data = nullptr;
  args.lse.data = nullptr;
  status = Run({}, args);
  EXPECT_TRUE(status.ok()) << ToString(status);

  tensors = eval::MakeTensors(ProblemOf("h2_d8_dv0_q2_k3"), {});
  args = tensors.Args();
  args.value.data = nullptr;
  args.out.data = nullptr;
  status = Run({}, args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(std::isfinite(*tensors.lse.At(0, 1, 1)));
}

// Rows that see nothing are written: zeros and -inf, and raise nothing.
TEST_P(Edge, RowsThatSeeNothing) {
  for (const char* text : {"h2_d8_q20_k5_causal", "h2_d8_q9_k5_causal_off-100",
                           "h2_d8_q9_k5_off100_wl3", "h2_d8_q9_k5_off-100_wr3",
                           "h2_d8_q9_k5_causal_off-1_sink5", "h2_d8_q9_k0"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    Checker(GetParam(), problem.params, tensors).Check();
    tensors.ClearOutput();
    feclearexcept(FE_ALL_EXCEPT);
    ASSERT_TRUE(Run(problem.params, tensors.Args()).ok());
    EXPECT_EQ(fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), 0) << text;
    EXPECT_EQ(*tensors.out.At(0, 0, 0, 0), 0.0f) << text;
    EXPECT_FALSE(std::signbit(*tensors.out.At(0, 0, 0, 0))) << text;
    EXPECT_EQ(*tensors.lse.At(0, 0, 0), -kInf) << text;
  }
}

// Ordinary numbers raise no floating-point exception that a host might trap.
TEST_P(Edge, OrdinaryNumbersRaiseNothing) {
  for (const char* text : {"h2_kv1_d20_q40_k150_causal", "h1_d7_q9_k70_cap5",
                           "h1_d8_q3_k4200_causal_wl50_sink3"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    feclearexcept(FE_ALL_EXCEPT);
    ASSERT_TRUE(Run(problem.params, tensors.Args()).ok());
    EXPECT_EQ(fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), 0) << text;
  }
}

// The rounding mode is the caller's, before and after.
TEST_P(Edge, TheFloatingPointEnvironmentIsLeftAlone) {
  const io::Problem problem = ProblemOf("h2_d16_q20_k70_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  ASSERT_EQ(fesetround(FE_UPWARD), 0);
  const Status status = Run(problem.params, tensors.Args());
  const int mode = fegetround();
  fesetround(FE_TONEAREST);
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(mode, FE_UPWARD);
}

// So is the flushing of denormals; where none arises it changes no bit.
TEST_P(Edge, FlushingOfDenormalsIsLeftAlone) {
  for (const char* text : {"h2_d16_q20_k70_causal", "h1_d8_q9_k4200_cap3"}) {
    const io::Problem problem = ProblemOf(text);
    eval::WorkloadOptions options;
    for (const eval::Fill fill : {eval::Fill::kNormal, eval::Fill::kSpread}) {
      options.fill = fill;
      const eval::Tensors tensors = eval::MakeTensors(problem, options);
      const Checker checker(GetParam(), problem.params, tensors);
      const uint64_t before = FloatingPointControl();
      SetFloatingPointControl(before | kFlushDenormals);
      const Status status = Run(problem.params, tensors.Args());
      const uint64_t after = FloatingPointControl();
      SetFloatingPointControl(before);
      EXPECT_TRUE(status.ok()) << ToString(status);
      EXPECT_EQ(after & kFlushDenormals, kFlushDenormals) << text;
      EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse)) << text;
    }
  }
}

TEST_P(Edge, ScaleZeroMeansTheDefault) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d64_q10_k20"), {});
  AttentionParams given;
  given.softmax_scale = 0.125f;
  ASSERT_TRUE(Run(given, tensors.Args()).ok());
  const std::vector<float> want = tensors.out.Dense();
  ASSERT_TRUE(Run({}, tensors.Args()).ok());
  EXPECT_EQ(tensors.out.Dense(), want);
  given.softmax_scale = -0.0f;
  ASSERT_TRUE(Run(given, tensors.Args()).ok());
  EXPECT_EQ(tensors.out.Dense(), want);
}

// With softcap, masked keys still weigh exactly nothing.
TEST_P(Edge, SoftcapDoesNotUnmask) {
  const io::Problem problem = ProblemOf("h1_d8_q10_k80_causal_off5_cap0.5");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  ASSERT_TRUE(Run(problem.params, tensors.Args()).ok());
  const std::vector<float> want = tensors.out.Dense();
  for (int64_t key = 15; key < 80; ++key) {
    for (int64_t c = 0; c < 8; ++c) *tensors.value.At(0, key, 0, c) = 1000.0f;
  }
  ASSERT_TRUE(Run(problem.params, tensors.Args()).ok());
  EXPECT_EQ(tensors.out.Dense(), want);
}

TEST_P(Edge, WindowsOfEveryKind) {
  // The window spans everything: the same as none, to the bit.
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d8_q20_k150"), {});
  ASSERT_TRUE(Run({}, tensors.Args()).ok());
  const std::vector<float> want = tensors.out.Dense();
  for (const int64_t wide :
       {int64_t{150}, int64_t{1} << 33, std::numeric_limits<int64_t>::max()}) {
    AttentionParams params;
    params.window_left = params.window_right = wide;
    ASSERT_TRUE(Run(params, tensors.Args()).ok());
    EXPECT_EQ(tensors.out.Dense(), want) << wide;
  }
  AttentionParams sinks;
  sinks.window_left = 0;
  sinks.sink_size = std::numeric_limits<int64_t>::max();
  ASSERT_TRUE(Run(sinks, tensors.Args()).ok());
  EXPECT_EQ(tensors.out.Dense(), want) << "all keys are sinks";
}

// After fork, a child may run on its own thread.
TEST_P(Edge, AForkedChildMayRun) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d16_q20_k70"), {});
  ASSERT_TRUE(Run({}, tensors.Args()).ok());
  const std::vector<float> want = tensors.out.Dense();
  tensors.ClearOutput();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool same =
        Run({}, tensors.Args()).ok() && tensors.out.Dense() == want;
    _exit(same ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// The one-shot call is plan and run on the default table.
TEST(OneShot, IsPlanAndRun) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d16_q20_k70_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const Checker checker(DefaultTarget(), problem.params, tensors);
  ASSERT_TRUE(Attention(problem.params, tensors.Args()).ok());
  EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse));
}

HEED_ON_EVERY_TARGET(Edge);

}  // namespace
}  // namespace heed::test
