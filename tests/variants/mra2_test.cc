// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// MRA-2 is exact where means of blocks lose nothing, and chooses its pairs of
// blocks as its paper does.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/coarse_run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

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

}  // namespace
}  // namespace heed::test
