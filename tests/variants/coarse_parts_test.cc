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
  const double few = LargestError(OutOf("scatterbrain", t, {32, 16, 1}), want);
  const double many =
      LargestError(OutOf("scatterbrain", t, {32, 1024, 1}), want);
  EXPECT_LT(many, 0.05);
  EXPECT_LT(many, 0.5 * few);
}

// Where weights are far apart no sum leaves the range of floats.
TEST(Scatterbrain, ServesLongRows) {
  for (const char* problem : {"b1_h1_d8_q200_causal", "b1_h1_d8_q90_k200"}) {
    const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
    for (int64_t s = 0; s < 200; ++s) {
      for (int64_t c = 0; c < 8; ++c) *t.key.At(0, s, 0, c) *= 12;
    }
    for (const float x : OutOf("scatterbrain", t, {16, 32, 1})) {
      ASSERT_TRUE(std::isfinite(x));
    }
  }
}

}  // namespace
}  // namespace heed::test
