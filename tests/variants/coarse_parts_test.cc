// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Variants that let means, combinations or features stand for keys are exact
// where these lose nothing, and do with given inputs what those say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "heed/estimators.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/selection_run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

Setting SettingOf(const std::string& name,
                  std::initializer_list<double> knobs) {
  Setting setting = SettingsOf(VariantNamed(name)).front();
  std::copy(knobs.begin(), knobs.end(), setting.knobs);
  return setting;
}

// Runs a variant and returns its out.
std::vector<float> OutOf(const std::string& name, const eval::Tensors& t,
                         std::initializer_list<double> knobs,
                         const ConstTensorView* inputs = nullptr) {
  VariantArgs args = ArgsOf(t, SettingOf(name, knobs));
  args.inputs = inputs;
  const Status status = RunGuarded(VariantNamed(name), args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  return t.out.Dense();
}

double LargestError(const std::vector<float>& got,
                    const std::vector<double>& want) {
  double error = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    error = std::fmax(error, std::fabs(static_cast<double>(got[i]) - want[i]));
  }
  return error;
}

double ErrorOfReference(const std::string& name, const eval::Tensors& t,
                        std::initializer_list<double> knobs,
                        const ConstTensorView* inputs) {
  const std::vector<float> got = OutOf(name, t, knobs, inputs);
  VariantArgs args = ArgsOf(t, SettingOf(name, knobs));
  args.inputs = inputs;
  std::vector<double> want(got.size());
  VariantNamed(name).reference(args, want.data());
  return LargestError(got, want);
}

std::vector<double> ExactOut(const eval::Tensors& t) {
  const VariantArgs args = ArgsOf(t, Setting());
  return Truth(args.params, args.args).out();
}

// Every `repeat` tokens in a row become the same, of queries, keys and values.
void Repeat(const eval::Tensors& t, int64_t repeat) {
  for (const eval::Tensor* x : {&t.query, &t.key, &t.value}) {
    for (int64_t s = 0; s < x->view.seqlen(); ++s) {
      for (int64_t h = 0; h < x->view.heads(); ++h) {
        const float* from = x->At(0, s / repeat * repeat, h);
        std::copy(from, from + x->view.head_dim(), x->At(0, s, h));
      }
    }
  }
}

std::vector<float> Numbers(int64_t count) {
  std::vector<float> numbers;
  for (int64_t i = 0; i < count; ++i) {
    numbers.push_back(0.1f * static_cast<float>(i * 7 % 11 - 5));
  }
  return numbers;
}

TEST(Linformer, TakesGivenProjections) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d8_q9_k30"), {});
  const std::vector<float> e = Numbers(5 * 30 * 2), f = Numbers(5 * 30 * 2 + 3);
  const ConstTensorView given[] = {Bshd(e.data(), 1, 5 * 30, 2, 1),
                                   Bshd(f.data() + 3, 1, 5 * 30, 2, 1)};
  EXPECT_LT(ErrorOfReference("linformer", t, {5}, given), 1e-5);
  // Rows of the identity are the keys themselves.
  std::vector<float> one(30 * 30 * 2);
  for (int64_t i = 0; i < 30; ++i) {
    one[static_cast<size_t>((i * 30 + i) * 2)] = 1;
    one[static_cast<size_t>((i * 30 + i) * 2 + 1)] = 1;
  }
  const ConstTensorView identity[] = {Bshd(one.data(), 1, 30 * 30, 2, 1),
                                      Bshd(one.data(), 1, 30 * 30, 2, 1)};
  EXPECT_LT(LargestError(OutOf("linformer", t, {30}, identity), ExactOut(t)),
            1e-5);
}

TEST(Linformer, RefusesProjectionsOfOtherRows) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_d8_q9_k30"), {});
  const std::vector<float> e = Numbers(5 * 30 * 2);
  const ConstTensorView given[] = {Bshd(e.data(), 1, 5 * 30, 2, 1),
                                   Bshd(e.data(), 1, 4 * 30, 2, 1)};
  VariantArgs args = ArgsOf(t, SettingOf("linformer", {5}));
  args.inputs = given;
  const Status status = RunGuarded(VariantNamed("linformer"), args);
  EXPECT_STREQ(status.argument(), "proj_v") << ToString(status);
  EXPECT_TRUE(Untouched(t.out));
}

// Of 8 different tokens landmarks are the tokens, and A A+ A = A.
TEST(Nystromformer, IsExactWhereLandmarksAreTheTokens) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_kv1_d16_q32"), {});
  Repeat(t, 4);
  EXPECT_LT(LargestError(OutOf("nystromformer", t, {8, 30}), ExactOut(t)),
            1e-3);
  EXPECT_GT(LargestError(OutOf("nystromformer", t, {7, 30}), ExactOut(t)),
            1e-2);
}

// The inverse of one head does not depend on the others.
TEST(Nystromformer, HeadsAreAlone) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_d8_q60"), {});
  const std::vector<float> before = OutOf("nystromformer", t, {6, 6});
  for (int64_t s = 0; s < 60; ++s) {
    for (int64_t c = 0; c < 8; ++c) *t.query.At(0, s, 1, c) *= 5;
  }
  const std::vector<float> after = OutOf("nystromformer", t, {6, 6});
  for (size_t row = 0; row < 60; ++row) {
    for (size_t c = 0; c < 8; ++c) {
      ASSERT_EQ(before[row * 16 + c], after[row * 16 + c]);
      ASSERT_NE(before[row * 16 + 8 + c], after[row * 16 + 8 + c]);
    }
  }
}

// Means lose nothing where the tokens of a block are all the same; a short last
// block among them.
TEST(Mra2, IsExactWhereBlocksAreUniform) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h4_kv2_d16_q60_k90"), {});
  Repeat(t, 8);
  EXPECT_LT(LargestError(OutOf("mra2", t, {1, 8, 0, 0, 0}), ExactOut(t)), 1e-5);
  EXPECT_GT(LargestError(OutOf("mra2", t, {1, 8, 1, 0, 0}), ExactOut(t)), 1e-2);
}

// Priors are exact: with tokens of their own, rows of the first block are.
TEST(Mra2, KeepsPriorsExact) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_d16_q64"), {});
  const std::vector<double> want = ExactOut(t);
  const auto error = [&](const std::vector<float>& got) {
    return LargestError({got.begin(), got.begin() + 8 * 2 * 16},
                        {want.begin(), want.begin() + 8 * 2 * 16});
  };
  EXPECT_LT(error(OutOf("mra2", t, {1, 8, 0, 1, 0})), 1e-5);
  EXPECT_GT(error(OutOf("mra2", t, {1, 8, 0, 0, 0})), 1e-3);
  for (const double diagonal : {1.0, 2.0, 3.0, 5.0}) {
    EXPECT_LT(ErrorOfReference("mra2", t, {1, 8, 0, 0, diagonal}, nullptr),
              1e-5);
  }
}

// Sets queries and keys so that the score of a row of query block i and a key
// of key block j is score[i][j], and values so that channel j of out is what
// the keys of block j weigh together.
void SetBlocks(const eval::Tensors& t, int64_t query_block, int64_t key_block,
               const std::vector<std::vector<float>>& score) {
  for (int64_t s = 0; s < t.query.view.seqlen(); ++s) {
    for (int64_t c = 0; c < t.query.view.head_dim(); ++c) {
      *t.query.At(0, s, 0, c) = c == s / query_block ? 1.0f : 0.0f;
    }
  }
  for (int64_t s = 0; s < t.key.view.seqlen(); ++s) {
    const int64_t j = s / key_block;
    for (int64_t c = 0; c < t.key.view.head_dim(); ++c) {
      const size_t row = std::min(static_cast<size_t>(c), score.size() - 1);
      *t.key.At(0, s, 0, c) = score[row][static_cast<size_t>(j)];
    }
    for (int64_t c = 0; c < t.value.view.head_dim(); ++c) {
      *t.value.At(0, s, 0, c) = c == j ? 1.0f : 0.0f;
    }
  }
}

// A letter for each channel of a row: x where it is not 0.
std::string Weighed(const eval::Tensors& t, int64_t row) {
  std::string text;
  for (int64_t c = 0; c < t.out.view.head_dim(); ++c) {
    text += *t.out.At(0, row, 0, c) == 0 ? '.' : 'x';
  }
  return text;
}

// Which pairs of blocks are exact, by hand: those that lie the least below the
// best of their row, beside those that are kept anyway.
TEST(Mra2, KeepsPairsByHand) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d4_q8_k8_scale1"), {});
  SetBlocks(t, 2, 2,
            {{5, 1, 0, 2}, {0, 3, 2.5, 1}, {4, 0, 0, 0}, {1, 2, 3, 3.5}});
  const auto map = [&](double per_row, double first, double diagonal) {
    OutOf("mra2", t, {per_row, 2, 1, first, diagonal});
    std::vector<std::string> rows;
    for (int64_t i = 0; i < 4; ++i) rows.push_back(Weighed(t, 2 * i));
    return rows;
  };
  using Map = std::vector<std::string>;
  EXPECT_EQ(map(2, 0, 0), (Map{"x...", ".xxx", "x...", ".xxx"}));
  EXPECT_EQ(map(3, 1, 0), (Map{"xxxx", "xxx.", "x...", "xxxx"}));
  EXPECT_EQ(map(2, 0, 1), (Map{"x...", ".xx.", "x.x.", ".xxx"}));
  EXPECT_EQ(map(2, 0, 2), (Map{"xx..", "xxx.", ".xxx", "..xx"}));
  EXPECT_EQ(map(2, 0, 3), map(2, 0, 2));
}

// A block whose queries hold a NaN wins no pair, and is not 0 for that; a block
// of keys that does loses, and spoils no other.
TEST(Mra2, SparseModePassesNansOn) {
  const char problem[] = "b1_h1_d8_q64_k64";
  const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
  *t.query.At(0, 20, 0, 3) = NAN;
  OutOf("mra2", t, {1, 8, 1, 0, 0});
  for (int64_t row = 0; row < 64; ++row) {
    EXPECT_EQ(std::isnan(*t.out.At(0, row, 0, 5)), row / 8 == 2) << row;
  }
  const eval::Tensors other = eval::MakeTensors(ProblemOf(problem), {});
  *other.key.At(0, 3, 0, 3) = NAN;
  OutOf("mra2", other, {1, 8, 1, 0, 0});
  for (int64_t row = 0; row < 64; ++row) {
    EXPECT_TRUE(std::isfinite(*other.out.At(0, row, 0, 5))) << row;
    EXPECT_NE(*other.out.At(0, row, 0, 5), 0) << row;
  }
}

// NaN ranks last, in the reference too: whole rows and columns of pairs have
// none but NaN.
TEST(Mra2, ReferenceRanksNansLast) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_d8_q96_k120"), {});
  for (const int64_t row : {9, 41, 77}) *t.query.At(0, row, 0, 3) = NAN;
  for (const int64_t key : {2, 37, 58, 90}) *t.key.At(0, key, 1, 3) = NAN;
  const std::vector<float> got = OutOf("mra2", t, {3, 4, 0, 0, 0});
  const VariantArgs args = ArgsOf(t, SettingOf("mra2", {3, 4, 0, 0, 0}));
  std::vector<double> want(got.size());
  VariantNamed("mra2").reference(args, want.data());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::isnan(got[i]), std::isnan(want[i])) << i;
    if (std::isnan(got[i])) continue;
    ASSERT_NEAR(static_cast<double>(got[i]), want[i], 1e-5) << i;
  }
}

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

// Features estimate the far weights: the more, the nearer.
TEST(Scatterbrain, NearsExactAttention) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d8_q300_causal_scale0.1"), {});
  const std::vector<double> want = ExactOut(t);
  for (const double support : {0.0, 1.0}) {
    const auto error = [&](double features) {
      return LargestError(OutOf("scatterbrain", t, {32, features, 1, support}),
                          want);
    };
    EXPECT_LT(error(1024), 0.08) << "support " << support;
    EXPECT_LT(error(1024), 0.5 * error(16)) << "support " << support;
  }
}

// Queries and keys whose largest features are so far apart that no product of
// them is a float: where nothing is near, and where something is.
TEST(Scatterbrain, ServesRowsWithoutAProduct) {
  for (const char* problem :
       {"b1_h2_kv1_d32_q300_k64", "b1_h2_kv1_d32_q150_causal",
        "b1_h1_d32_q90_k120_causal_scale-0.2"}) {
    SCOPED_TRACE(problem);
    const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
    for (const eval::Tensor* x : {&t.query, &t.key}) {
      for (int64_t s = 0; s < x->view.seqlen(); ++s) {
        for (int64_t h = 0; h < x->view.heads(); ++h) {
          for (int64_t c = 0; c < 32; ++c) *x->At(0, s, h, c) *= 30;
        }
      }
    }
    for (const double support : {0.0, 1.0}) {
      EXPECT_LT(
          ErrorOfReference("scatterbrain", t, {16, 64, 1, support}, nullptr),
          5e-3);
    }
  }
}

// Which keys are near, by hand: queries are 0 and keys so long that features
// give them no weight, where softmax gives all the same.
TEST(Scatterbrain, IsNearByHand) {
  const auto near = [](const std::string& problem, double local_context,
                       int64_t row) {
    const eval::Tensors t =
        eval::MakeTensors(ProblemOf("b1_h1_d4_dv10_" + problem), {});
    for (int64_t s = 0; s < t.query.view.seqlen(); ++s) {
      std::fill(t.query.At(0, s, 0), t.query.At(0, s, 0) + 4, 0.0f);
    }
    for (int64_t s = 0; s < 10; ++s) {
      std::fill(t.key.At(0, s, 0), t.key.At(0, s, 0) + 4, 10.0f);
      for (int64_t c = 0; c < 10; ++c) {
        *t.value.At(0, s, 0, c) = c == s ? 1.0f : 0.0f;
      }
    }
    OutOf("scatterbrain", t, {local_context, 8, 1, 0});
    return Weighed(t, row);
  };
  EXPECT_EQ(near("q10_k10_causal_scale1", 4, 1), "xx........");
  EXPECT_EQ(near("q10_k10_causal_scale1", 4, 6), "...xxxx...");
  EXPECT_EQ(near("q6_k10_causal_scale1", 4, 2), "...xxxx...");
  EXPECT_EQ(near("q10_k10_scale1", 4, 5), "...xxxx...");
  EXPECT_EQ(near("q10_k10_scale1", 5, 5), "...xxxxx..");
  EXPECT_EQ(near("q10_k10_scale1", 1, 5), ".....x....");
  EXPECT_EQ(near("q10_k10_scale1", 4, 9), ".......xxx");
}

// Which keys hash as queries do, by the definition: queries are so short that
// softmax gives all keys about the same, and keys so long that features give
// them nothing.
TEST(Scatterbrain, IsAlikeByHand) {
  constexpr int64_t kRows = 70, kKeys = 90, kDim = 8, kRounds = 2, kTurns = 3;
  constexpr int64_t kSeed = 5;
  const eval::Tensors t = eval::MakeTensors(
      ProblemOf("b1_h4_kv2_d8_dv90_q70_k90_causal_scale1"), {});
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t s = 0; s < kRows; ++s) {
      for (int64_t c = 0; c < kDim; ++c) *t.query.At(0, s, h, c) *= 1e-4f;
    }
  }
  for (int64_t kv = 0; kv < 2; ++kv) {
    for (int64_t s = 0; s < kKeys; ++s) {
      for (int64_t c = 0; c < kDim; ++c) *t.key.At(0, s, kv, c) *= 100;
      for (int64_t c = 0; c < kKeys; ++c) {
        *t.value.At(0, s, kv, c) = c == s ? 1.0f : 0.0f;
      }
    }
  }
  // The end of which direction x is nearest to.
  const auto bucket_of = [&](const float* x, int64_t round) {
    double most = 0;
    int64_t bucket = 0;
    for (int64_t j = 0; j < kTurns; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < kDim; ++c) {
        double turn = -2;
        for (int64_t k = 0; k < 4; ++k) {
          turn += static_cast<double>(
              sparse::DrawOf(kSeed, round * kDim + c, j, k));
        }
        sum += static_cast<double>(x[c]) * turn;
      }
      if (std::fabs(sum) <= most) continue;
      most = std::fabs(sum);
      bucket = sum < 0 ? -1 - j : j;
    }
    return bucket;
  };
  OutOf("scatterbrain", t, {1, 8, kSeed, 1, kRounds, kTurns});
  int64_t alike = 0;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t key = 0; key < kKeys; ++key) {
        bool want = false;
        for (int64_t round = 0; round < kRounds; ++round) {
          want |= bucket_of(t.query.At(0, row, h), round) ==
                  bucket_of(t.key.At(0, key, h / 2), round);
        }
        want = want && key <= row + kKeys - kRows;
        alike += want;
        ASSERT_EQ(*t.out.At(0, row, h, key) > 1e-6f, want)
            << "head " << h << " row " << row << " key " << key;
      }
    }
  }
  EXPECT_GT(alike, 0);
}

// Where weights are far apart no sum leaves the range of floats.
TEST(Scatterbrain, ServesLongRows) {
  for (const char* problem : {"b1_h1_d8_q200_causal", "b1_h1_d8_q90_k200"}) {
    const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
    for (int64_t s = 0; s < 200; ++s) {
      for (int64_t c = 0; c < 8; ++c) *t.key.At(0, s, 0, c) *= 12;
    }
    for (const double support : {0.0, 1.0}) {
      for (const float x : OutOf("scatterbrain", t, {16, 32, 1, support})) {
        ASSERT_TRUE(std::isfinite(x));
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
