// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// SLA and VSA, which add to chosen blocks what coarse attention gives: which
// blocks, by hand, and where the coarse part loses nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/coarse_run.h"

namespace heed::test {
namespace {

// How many blocks are critical, marginal and negligible, and which, by hand.
TEST(Sla, SortsBlocksByHand) {
  const std::vector<float> none(8 * 8);
  const ConstTensorView zeros[] = {Bshd(none.data(), 1, 8, 1, 8)};
  const auto kinds = [&](const std::string& problem, double k_h, double k_l,
                         double query_block, int64_t row) {
    const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
    // All queries alike.
    SetBlocks(t, 64, 8, {{3, 7, 1, 5, 2, 6, 4, 0}});
    OutOf("sla", t, {k_h, k_l, query_block, 8, 1}, zeros);
    const std::string critical = Weighed(t, row);
    OutOf("sla", t, {k_h, k_l, query_block, 8, 1});
    std::string text = Weighed(t, row);
    for (size_t j = 0; j < text.size(); ++j) {
      if (text[j] == 'x') text[j] = critical[j] == 'x' ? 'C' : 'm';
    }
    return text;
  };
  const char causal[] = "b1_h1_d8_q64_k64_causal_scale1";
  const char full[] = "b1_h1_d8_q64_k64_scale1";
  // Causal, of 1, 4 and 8 blocks: 0.35 of them critical, among them the one
  // that the mask cuts, 0.45 negligible, both rounded down.
  EXPECT_EQ(kinds(causal, 0.35, 0.45, 8, 7), "C.......");
  EXPECT_EQ(kinds(causal, 0.35, 0.45, 8, 31), "mm.C....");
  EXPECT_EQ(kinds(causal, 0.35, 0.45, 8, 63), ".C.m.mmC");
  // Rows 16 to 31 cut two of four.
  EXPECT_EQ(kinds(causal, 0.35, 0.45, 16, 31), ".mCC....");
  EXPECT_EQ(kinds(full, 0.35, 0.45, 64, 0), "mC.m.Cm.");
  EXPECT_EQ(kinds(full, 0, 1, 64, 0), ".C......");
  EXPECT_EQ(kinds(full, 0.95, 0.95, 64, 0), "CCCCCCC.");
}

TEST(Sla, AddsWhatItProjects) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h4_kv2_d16_dv8_q200_causal"), {});
  std::vector<float> none(8 * 2 * 8), twice(none.size());
  for (int64_t i = 0; i < 8; ++i) {
    for (int64_t h = 0; h < 2; ++h) {
      twice[static_cast<size_t>((i * 2 + h) * 8 + i)] = 2;
    }
  }
  const ConstTensorView zeros[] = {Bshd(none.data(), 1, 8, 2, 8)};
  const ConstTensorView doubles[] = {Bshd(twice.data(), 1, 8, 2, 8)};
  const std::initializer_list<double> knobs = {0.2, 0.2, 16, 16, 0};
  const std::vector<float> sparse = OutOf("sla", t, knobs, zeros);
  const std::vector<float> with = OutOf("sla", t, knobs);
  const std::vector<float> more = OutOf("sla", t, knobs, doubles);
  double added = 0;
  for (size_t i = 0; i < with.size(); ++i) {
    EXPECT_NEAR(more[i] - sparse[i], 2 * (with[i] - sparse[i]), 1e-5f);
    added =
        std::fmax(added, static_cast<double>(std::fabs(with[i] - sparse[i])));
  }
  EXPECT_GT(added, 0.05);
  const std::vector<float> any = Numbers(8 * 2 * 8);
  const ConstTensorView given[] = {Bshd(any.data(), 1, 8, 2, 8)};
  for (const double map : {0.0, 1.0, 2.0}) {
    EXPECT_LT(ErrorOfReference("sla", t, {0.2, 0.2, 16, 16, map}, given), 2e-5);
  }
}

// Without critical ones but those that a mask cuts, and all others negligible,
// it is a choice of one block.
TEST(Sla, LeavesNegligibleBlocksOut) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d8_q32_k64"), {});
  for (int64_t s = 0; s < 64; ++s) {
    for (int64_t c = 0; c < 8; ++c) {
      *t.value.At(0, s, 0, c) = static_cast<float>(s / 16);
    }
  }
  // One critical block of four, the others negligible: values of one block.
  for (const float x : OutOf("sla", t, {0, 1, 32, 16, 0})) {
    EXPECT_EQ(x, std::round(x));
  }
  // Two critical, none negligible: more than one block's.
  const std::vector<float> all = OutOf("sla", t, {0.25, 0, 32, 16, 0});
  EXPECT_TRUE(std::any_of(all.begin(), all.end(),
                          [](float x) { return x != std::round(x); }));
}

// Gates of the coarse and of the fine part, alike for all tokens and channels.
std::vector<float> VsaWithGates(const eval::Tensors& t, float coarse,
                                float fine,
                                std::initializer_list<double> knobs) {
  const TensorView& v = t.value.view;
  const size_t count =
      static_cast<size_t>(v.batch() * v.seqlen() * v.heads() * v.head_dim());
  const std::vector<float> of_coarse(count, coarse), of_fine(count, fine);
  const ConstTensorView gates[] = {
      Bshd(of_coarse.data(), v.batch(), v.seqlen(), v.heads(), v.head_dim()),
      Bshd(of_fine.data(), v.batch(), v.seqlen(), v.heads(), v.head_dim())};
  return OutOf("vsa", t, knobs, gates);
}

TEST(Vsa, IsExactWithAllCubesAndNothingCoarse) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d16_dv24_q70_k113"), {});
  EXPECT_LT(
      LargestError(VsaWithGates(t, 0, 1, {1e9, 5, 6, 2, 3, 4}), ExactOut(t)),
      1e-5);
}

// Tokens of a cube that are all the same: the mean is each of them, and cubes
// of one size all count alike.
TEST(Vsa, CoarseIsExactWhereCubesAreUniform) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_d16_q96"), {});
  // 4 frames of 4 by 6 in cubes of 2, 2 and 3.
  const auto cube = [](int64_t s) {
    return (s / 24 / 2 * 2 + s / 6 % 4 / 2) * 2 + s % 6 / 3;
  };
  for (const eval::Tensor* x : {&t.query, &t.key, &t.value}) {
    for (int64_t s = 0; s < 96; ++s) {
      int64_t first = 0;
      while (cube(first) != cube(s)) ++first;
      for (int64_t h = 0; h < 2; ++h) {
        std::copy(x->At(0, first, h), x->At(0, first, h) + 16, x->At(0, s, h));
      }
    }
  }
  EXPECT_LT(
      LargestError(VsaWithGates(t, 1, 0, {1, 4, 6, 2, 2, 3}), ExactOut(t)),
      1e-5);
  // Cut otherwise, cubes mix tokens.
  EXPECT_GT(
      LargestError(VsaWithGates(t, 1, 0, {1, 6, 4, 2, 2, 3}), ExactOut(t)),
      1e-2);
}

}  // namespace
}  // namespace heed::test
