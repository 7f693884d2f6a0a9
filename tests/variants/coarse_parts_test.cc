// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Variants that let combinations of keys stand for them are exact where these
// lose nothing.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/coarse_run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

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

}  // namespace
}  // namespace heed::test
