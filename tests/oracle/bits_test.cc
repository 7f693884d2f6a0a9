// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The truths against one another: the page that defines the bits stays within
// its bound of plain double, and the fast double agrees with the plain one. No
// kernel is involved.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>
#include <xsimd/xsimd.hpp>

#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using eval::Fill;

const Fill kFills[] = {Fill::kNormal, Fill::kInteger, Fill::kSpread,
                       Fill::kOneHot, Fill::kGrowing, Fill::kEqual};

const char* const kProblems[] = {
    "b2_h4_kv2_d64_q20_k150_causal",
    "h2_d7_dv19_q20_k66",
    "h1_d128_q9_k300_causal_wl50_sink4",
    "h1_d256_q9_k70",
    "h2_kv1_d16_q9_k200_cap5",
    "h2_kv1_d16_q9_k200_cap0.01_scale3",
    "h1_d16_q20_k50_scale-0.7",
    "h1_d1_q5_k100",
    "h1_d16_q30_k10_causal",
    "h1_d16_q5_k0",
    "h1_d4_q3_k4200",
};

TEST(Bits, StaysWithinTheBoundOfDouble) {
  for (const Fill fill : kFills) {
    for (const char* problem : kProblems) {
      SCOPED_TRACE(std::string(problem) + ", fill " +
                   std::to_string(static_cast<int>(fill)));
      eval::WorkloadOptions options;
      options.fill = fill;
      const eval::Tensors tensors =
          eval::MakeTensors(ProblemOf(problem), options);
      const AttentionArgs args = tensors.Args();
      oracle::AttentionBits(tensors.problem.params, args);
      const Truth truth(tensors.problem.params, args);
      EXPECT_TRUE(truth.Near(tensors.out, tensors.lse));
      EXPECT_TRUE(tensors.out.PaddingIntact());
    }
  }
}

TEST(Bits, FollowsKeyIntervals) {
  eval::Random random(3);
  for (const char* problem : {"h4_kv2_d8_q30_k300_causal", "h1_d4_q6_k8300"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(problem), {});
    const IntervalLists lists =
        RandomLists(tensors.problem.shape, 7, 6, 60, random);
    AttentionArgs args = tensors.Args();
    args.key_intervals = lists.View();
    oracle::AttentionBits(tensors.problem.params, args);
    EXPECT_TRUE(
        Truth(tensors.problem.params, args).Near(tensors.out, tensors.lse))
        << problem;
  }
}

// The yardstick itself is a float implementation, no better and no worse: about
// the rounding of one weight for ordinary scores.
TEST(Bits, TheBoundIsTight) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d64_q20_k150"), {});
  const Truth truth(tensors.problem.params, tensors.Args());
  EXPECT_LT(truth.out_bound(), 8e-6);
  EXPECT_LT(truth.lse_bound(), 8e-6);
  EXPECT_GT(truth.out_bound(), 1e-7);
}

// A check that accepts a wrong result would be worth nothing.
TEST(Bits, TheBoundRefusesAWrongResult) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d64_q20_k150"), {});
  const AttentionArgs args = tensors.Args();
  oracle::AttentionBits({}, args);
  const Truth truth({}, args);
  ASSERT_TRUE(truth.Near(tensors.out, tensors.lse));
  *tensors.out.At(0, 3, 1, 9) += 1e-5f;
  EXPECT_FALSE(truth.Near(tensors.out, tensors.lse));
  *tensors.out.At(0, 3, 1, 9) = NAN;
  EXPECT_FALSE(truth.Near(tensors.out, tensors.lse));
  AttentionParams causal;
  causal.causal = true;
  oracle::AttentionBits(causal, args);
  EXPECT_FALSE(truth.Near(tensors.out, tensors.lse));
}

TEST(Oracle, FastDoubleIsPlainDouble) {
  for (const Fill fill : kFills) {
    for (const char* problem : kProblems) {
      eval::WorkloadOptions options;
      options.fill = fill;
      const eval::Tensors tensors =
          eval::MakeTensors(ProblemOf(problem), options);
      const AttentionArgs args = tensors.Args();
      const Truth plain(tensors.problem.params, args);
      std::vector<double> out(plain.out().size()), lse(plain.lse().size());
      oracle::AttentionFast(tensors.problem.params, args, out.data(),
                            lse.data());
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], plain.out()[i], 1e-10) << problem;
      }
      for (size_t i = 0; i < lse.size(); ++i) {
        if (std::isinf(plain.lse()[i])) {
          ASSERT_EQ(lse[i], plain.lse()[i]) << problem;
        } else {
          ASSERT_NEAR(lse[i], plain.lse()[i], 1e-10) << problem;
        }
      }
    }
  }
}

TEST(Oracle, FastDoubleTreatsPoisonAsPlainDoubleDoes) {
  const io::Problem problem = ProblemOf("h2_kv1_d8_q20_k40_causal");
  for (const double poison : {NAN, INFINITY, -INFINITY}) {
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    *tensors.key.At(0, 30, 0, 3) = static_cast<float>(poison);
    *tensors.value.At(0, 35, 0, 2) = static_cast<float>(poison);
    const Truth plain(problem.params, tensors.Args());
    std::vector<double> out(plain.out().size()), lse(plain.lse().size());
    oracle::AttentionFast(problem.params, tensors.Args(), out.data(),
                          lse.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(std::isnan(out[i]), std::isnan(plain.out()[i])) << i;
      ASSERT_EQ(std::isinf(out[i]), std::isinf(plain.out()[i])) << i;
    }
    for (size_t i = 0; i < lse.size(); ++i) {
      ASSERT_EQ(std::isnan(lse[i]), std::isnan(plain.lse()[i])) << i;
    }
  }
}

// xsimd's exp and tanh, on which the fast double rests, against libm.
TEST(Oracle, XsimdFunctionsAreAccurate) {
  using Batch = xsimd::batch<double>;
  double lanes[Batch::size];
  for (double x = -700.0; x <= 0.0; x += 0.37) {
    xsimd::exp(Batch(x)).store_unaligned(lanes);
    EXPECT_NEAR(lanes[0] / std::exp(x), 1.0, 4e-16) << x;
    xsimd::tanh(Batch(x / 50)).store_unaligned(lanes);
    if (x == 0) continue;
    EXPECT_NEAR(lanes[0] / std::tanh(x / 50), 1.0, 1e-15) << x;
  }
}

}  // namespace
}  // namespace heed::test
