// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which keys the variants keep that are rules over positions alone.
#include <gtest/gtest.h>

#include "heed/estimators.h"
#include "tests/support/run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

TEST(PositionPatterns, DocumentsAreStretches) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d4_q300"), {});
  const Chosen chosen("document", {16}, t);
  int64_t documents = 0;
  for (int64_t row = 0; row < 300; ++row) {
    const Keys& keys = chosen.Row(0, 0, row);
    ASSERT_TRUE(keys.contains(row));
    // No gaps; the same for all its rows.
    const int64_t begin = *keys.begin(), end = *keys.rbegin() + 1;
    ASSERT_EQ(static_cast<int64_t>(keys.size()), end - begin);
    ASSERT_LE(end - begin, 32);
    for (const int64_t key : keys) ASSERT_EQ(chosen.Row(0, 0, key), keys);
    documents += begin == row;
  }
  // Document i begins within stretch i of 16 keys: the last may not be there.
  EXPECT_GE(documents, 18);
  EXPECT_LE(documents, 19);
}

TEST(PositionPatterns, PrefixSeesItselfBothWays) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d4_q40_k60"), {});
  const Chosen chosen("prefix_lm", {33}, t);
  for (int64_t row = 0; row < 40; ++row) {
    Keys want;
    for (int64_t key = 0; key < 60; ++key) {
      if (key < 33 || key <= row + 20) want.insert(key);
    }
    ASSERT_EQ(chosen.Row(0, 0, row), want) << "row " << row;
  }
}

TEST(PositionPatterns, TreeTokensSeeTheirAncestors) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d4_q20_k50_causal"), {});
  const Chosen chosen("tree", {13, 3}, t);
  for (int64_t row = 0; row < 20; ++row) {
    const int64_t position = row + 30;
    Keys want;
    for (int64_t key = 0; key < std::min<int64_t>(position + 1, 37); ++key) {
      want.insert(key);
    }
    // Tokens 1 to 3 are children of token 0, 4 to 6 of token 1, and so on.
    const int64_t parent[13] = {-1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3};
    for (int64_t n = position - 37; n >= 0; n = parent[n]) want.insert(37 + n);
    ASSERT_EQ(chosen.Row(0, 0, row), want) << "row " << row;
  }
}

// A chain is the causal mask.
TEST(PositionPatterns, TreeWithOneBranchIsCausal) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d4_q20_k50"), {});
  const Chosen chosen("tree", {20, 1}, t);
  for (int64_t row = 0; row < 20; ++row) {
    EXPECT_EQ(static_cast<int64_t>(chosen.Row(0, 0, row).size()), row + 31);
  }
}

// Ranks of all draws, one by one.
TEST(PositionPatterns, BigBirdKeepsTheHighestDraws) {
  for (const int64_t random : {0, 2, 5, 7, 90}) {
    const eval::Tensors t =
        eval::MakeTensors(ProblemOf("b1_h2_d4_q90_causal"), {});
    constexpr int64_t kBlock = 8, kSeed = 5, kLast = 11;
    const Chosen chosen("bigbird", {static_cast<double>(random), kBlock, kSeed},
                        t);
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t row = 0; row < 90; ++row) {
        const int64_t i = row / kBlock;
        Keys want;
        for (int64_t key = 0; key <= row; ++key) {
          const int64_t j = key / kBlock;
          int64_t before = 0;
          for (int64_t other = 1; other < i - 1; ++other) {
            before += sparse::DrawOf(kSeed, h, i, other) >
                      sparse::DrawOf(kSeed, h, i, j);
          }
          if (j == 0 || i - j <= 1 || i == kLast || before < random) {
            want.insert(key);
          }
        }
        ASSERT_EQ(chosen.Row(0, h, row), want) << random << " row " << row;
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
