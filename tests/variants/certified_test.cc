// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What `certified` promises: of its attention a row loses no more than epsilon,
// whatever the numbers, and where scores differ it leaves much out.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "lib/eval/knob_sweep.h"
#include "tests/support/run.h"
#include "tests/variants/selection_run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

// The share of exact attention that the keys of a row hold, in double.
double ShareOf(const eval::Tensors& t, const Keys& kept, int64_t b, int64_t h,
               int64_t row) {
  const AttentionShape& shape = t.problem.shape;
  const double scale =
      static_cast<double>(ops::SoftmaxScale(t.problem.params, shape.head_dim));
  const double cap = static_cast<double>(t.problem.params.softcap);
  const ops::VisibleKeys see =
      ops::VisibleTo(t.problem.params, shape.seqlen_q, shape.seqlen_k, row);
  std::vector<double> score(static_cast<size_t>(shape.seqlen_k), -INFINITY);
  double most = -INFINITY;
  for (int64_t key = 0; key < shape.seqlen_k; ++key) {
    if (key >= see.sink_end && (key < see.begin || key >= see.end)) continue;
    double& s = score[static_cast<size_t>(key)];
    s = scale * Product(t, b, h, row, key);
    if (cap != 0) s = cap * std::tanh(s / cap);
    most = std::fmax(most, s);
  }
  double all = 0, of_kept = 0;
  for (int64_t key = 0; key < shape.seqlen_k; ++key) {
    const double weight = std::exp(score[static_cast<size_t>(key)] - most);
    all += weight;
    if (kept.contains(key)) of_kept += weight;
  }
  return of_kept / all;
}

void ExpectHolds(const eval::Tensors& t, double epsilon, double block) {
  const Chosen chosen("certified", {epsilon, block}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    ASSERT_GE(ShareOf(t, chosen.Row(b, h, row), b, h, row), 1 - epsilon)
        << "epsilon " << epsilon << " head " << h << " row " << row;
  });
}

TEST(Certified, HoldsForEveryRow) {
  for (const char* problem :
       {"b2_h4_kv2_d16_q30_k90_causal", "b1_h2_d64_q20_k150_causal_wl70_sink5",
        "b1_h2_d16_q20_k80_cap3", "b1_h2_d16_q20_k80_scale-0.7",
        "b1_h2_d1_q20_k80", "b1_h2_d16_q20_k80_scale3"}) {
    for (const eval::Fill fill :
         {eval::Fill::kNormal, eval::Fill::kInteger, eval::Fill::kSpread,
          eval::Fill::kOneHot, eval::Fill::kGrowing, eval::Fill::kEqual}) {
      SCOPED_TRACE(std::string(problem) + " filled as " +
                   std::to_string(static_cast<int>(fill)));
      eval::WorkloadOptions options;
      options.fill = fill;
      const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), options);
      ExpectHolds(t, 0.001, 4);
      ExpectHolds(t, 0.1, 16);
      ExpectHolds(t, 0.5, 7);
    }
  }
}

// A block whose mean says nothing hides the one key that matters.
TEST(Certified, FindsANeedle) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d16_q1_k256"), {});
  for (int64_t key = 0; key < 256; ++key) {
    for (int64_t c = 0; c < 16; ++c) {
      const float sign = key == 100 ? 30.0f : key == 101 ? -30.0f : 0.01f;
      *t.key.At(0, key, 0, c) = sign * *t.query.At(0, 0, 0, c);
    }
  }
  const Chosen chosen("certified", {0.01, 16}, t);
  EXPECT_TRUE(chosen.Row(0, 0, 0).contains(100));
  EXPECT_EQ(chosen.Row(0, 0, 0).size(), 16u);
}

// Weights that nearly balance: skipping stops where it must, key by key.
TEST(Certified, StopsAtTheLastBlockThatCounts) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d1_q1_k400_scale1"), {});
  *t.query.At(0, 0, 0, 0) = 1;
  for (int64_t key = 0; key < 400; ++key) {  // blocks of 4 fall by a half
    *t.key.At(0, key, 0, 0) =
        -static_cast<float>(key / 4) * static_cast<float>(std::log(2.0));
  }
  for (const int blocks : {1, 2, 5, 9}) {
    // What so many blocks leave is 2^-blocks of all.
    const double epsilon = std::ldexp(1.0, -blocks);
    const Chosen enough("certified", {epsilon * 1.001, 4}, t);
    EXPECT_EQ(enough.Row(0, 0, 0).size(), static_cast<size_t>(4 * blocks));
    const Chosen more("certified", {epsilon * 0.999, 4}, t);
    EXPECT_EQ(more.Row(0, 0, 0).size(), static_cast<size_t>(4 * blocks + 4));
  }
}

// Keys whose squares are too small for a float, and a query that makes them
// count.
TEST(Certified, HoldsForTinyKeys) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d256_q1_k64_scale1"), {});
  for (int64_t c = 0; c < 256; ++c) {
    *t.query.At(0, 0, 0, c) = 1e18f;
    for (int64_t key = 0; key < 64; ++key) {
      *t.key.At(0, key, 0, c) = key < 32 ? -2.6e-23f : 2.6e-23f;
    }
  }
  for (const double epsilon : {0.49, 0.499, 0.5, 0.501, 0.51}) {
    ExpectHolds(t, epsilon, 4);
    ExpectHolds(t, epsilon, 32);
  }
}

// Each key of the first block has a score a hair above the one before.
TEST(Certified, HoldsForManyNewMaxima) {
  constexpr int64_t kKeys = 65536, kBlock = 55000;
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d1_q1_k65536_scale1"), {});
  *t.query.At(0, 0, 0, 0) = 1;
  double first = 0, rest = 0;
  for (int64_t key = 0; key < kKeys; ++key) {
    const float score = key < kBlock ? static_cast<float>(key) * 2.9e-8f : 0.0f;
    *t.key.At(0, key, 0, 0) = score;
    (key < kBlock ? first : rest) += std::exp(static_cast<double>(score));
  }
  const double share = rest / (first + rest);
  ExpectHolds(t, share * 0.9998, kBlock);
  // Nor is it kept for nothing.
  EXPECT_LT(Chosen("certified", {share * 1.001, kBlock}, t).Density(), 1);
}

TEST(Certified, EpsilonIsABudget) {
  eval::WorkloadOptions options;
  options.fill = eval::Fill::kSpread;
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_d16_q9_k256_causal"), options);
  const Chosen little("certified", {0.001, 4}, t);
  const Chosen much("certified", {0.2, 4}, t);
  EXPECT_TRUE(little.Contains(much));
  EXPECT_LT(much.Density(), 0.8);
}

TEST(Certified, NumbersThatAreNotFiniteProveNothing) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d16_q1_k256"), {});
  *t.key.At(0, 70, 0, 3) = NAN;
  EXPECT_EQ(Chosen("certified", {0.9, 4}, t).Density(), 1);
  *t.key.At(0, 70, 0, 3) = INFINITY;
  EXPECT_EQ(Chosen("certified", {0.9, 4}, t).Density(), 1);
}

TEST(Certified, RefusesScoreInputs) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d16_q3_k20"), {});
  const Variant& variant = VariantNamed("certified");
  VariantArgs args = ArgsOf(t, SettingsOf(variant).front());
  const float slope = 0.5f;
  args.args.scores.alibi_slopes = Bshd(&slope, 1, 1, 1, 1);
  const Status status = RunGuarded(variant, args);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_STREQ(status.argument(), "scores");
}

}  // namespace
}  // namespace heed::test
