// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which blocks sparge and flexprefill choose, against plain loops in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/support/run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

constexpr int64_t kBlock = 8;
constexpr int64_t kKeys = 96;
constexpr int64_t kBlocks = kKeys / kBlock;
const char kAll[] = "b1_h2_kv1_d16_q96";

size_t At(int64_t i) { return static_cast<size_t>(i); }

// The softmax over key blocks of the products of means, of a block of rows.
std::vector<double> PooledWeights(const eval::Tensors& t, int64_t h,
                                  int64_t block) {
  std::vector<double> weight(At(kBlocks), 0.0);
  for (int64_t row = block * kBlock; row < (block + 1) * kBlock; ++row) {
    for (int64_t key = 0; key < kKeys; ++key) {
      weight[At(key / kBlock)] +=
          Product(t, 0, h, row, key) / 4 / (kBlock * kBlock);
    }
  }
  double sum = 0;
  for (double& w : weight) sum += w = std::exp(w);
  for (double& w : weight) w /= sum;
  return weight;
}

std::vector<int64_t> Falling(const std::vector<double>& x) {
  std::vector<int64_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int64_t i, int64_t j) { return x[At(i)] > x[At(j)]; });
  return order;
}

Keys KeysOf(const std::vector<bool>& blocks) {
  Keys keys;
  for (int64_t key = 0; key < kKeys; ++key) {
    if (blocks[At(key / kBlock)]) keys.insert(key);
  }
  return keys;
}

TEST(PooledChoice, SpargeLeavesOutTheBlockThatCrosses) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kAll), {});
  for (const double share : {0.0, 0.3, 0.7}) {
    const Chosen chosen("sparge", {share, -1, kBlock, kBlock}, t);
    chosen.ForEachRow([&](int64_t, int64_t h, int64_t row) {
      const std::vector<double> weight = PooledWeights(t, h, row / kBlock);
      std::vector<bool> want(At(kBlocks), false);
      want[0] = want[At(row / kBlock)] = true;
      double sum = 0;
      for (const int64_t j : Falling(weight)) {
        sum += weight[At(j)];
        if (sum > share && sum > weight[At(j)]) break;
        want[At(j)] = true;
      }
      ASSERT_EQ(chosen.Row(0, h, row), KeysOf(want)) << "row " << row;
    });
  }
}

TEST(PooledChoice, SpargeKeepsWhatMeansDoNotStandFor) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kAll), {});
  // Rows that are drawn have a mean cosine of about 1 / 8.
  EXPECT_EQ(Chosen("sparge", {0.1, 0.6, kBlock, kBlock}, t).Density(), 1);
  // Blocks of equal rows, but for block 7 of the keys and 3 of the queries.
  for (int64_t row = 0; row < kKeys; ++row) {
    const int64_t first = row / kBlock * kBlock;
    for (int64_t c = 0; c < 16; ++c) {
      if (row / kBlock != 7) {
        *t.key.At(0, row, 0, c) = *t.key.At(0, first, 0, c);
      }
      for (int64_t h = 0; h < 2 && row / kBlock != 3; ++h) {
        *t.query.At(0, row, h, c) = *t.query.At(0, first, h, c);
      }
    }
  }
  const Chosen chosen("sparge", {0.1, 0.6, kBlock, kBlock}, t);
  chosen.ForEachRow([&](int64_t, int64_t h, int64_t row) {
    const size_t size = chosen.Row(0, h, row).size();
    EXPECT_TRUE(chosen.Row(0, h, row).contains(7 * kBlock));
    if (row / kBlock == 3) {
      EXPECT_EQ(size, static_cast<size_t>(kKeys));
    } else {
      EXPECT_LT(size, static_cast<size_t>(kKeys));
    }
  });
}

TEST(PooledChoice, FlexPrefillKeepsTheHeaviestPairsOfAQueryAwareHead) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kAll), {});
  constexpr double kGamma = 0.4;
  // No divergence is as large as 1.
  const Chosen chosen("flexprefill", {kGamma, 1, 0, kBlock}, t);
  for (int64_t h = 0; h < 2; ++h) {
    std::vector<double> map;
    for (int64_t i = 0; i < kBlocks; ++i) {
      const std::vector<double> weight = PooledWeights(t, h, i);
      map.insert(map.end(), weight.begin(), weight.end());
    }
    std::vector<std::vector<bool>> want(At(kBlocks),
                                        std::vector<bool>(At(kBlocks)));
    for (int64_t i = 0; i < kBlocks; ++i) {
      want[At(i)][0] = want[At(i)][At(i)] = true;
    }
    double sum = 0;
    for (const int64_t pair : Falling(map)) {
      if (sum >= kGamma * kBlocks) break;
      want[At(pair / kBlocks)][At(pair % kBlocks)] = true;
      sum += map[At(pair)];
    }
    for (int64_t row = 0; row < kKeys; ++row) {
      ASSERT_EQ(chosen.Row(0, h, row), KeysOf(want[At(row / kBlock)]))
          << "head " << h << " row " << row;
    }
  }
}

// Columns and diagonals as blocks; what they are found by, here in double.
TEST(PooledChoice, FlexPrefillKeepsColumnsAndDiagonalsOfOtherHeads) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d16_q96_causal_scale1"), {});
  constexpr double kGamma = 0.3;
  const Chosen chosen("flexprefill", {kGamma, 0, 0, kBlock}, t);
  for (int64_t h = 0; h < 2; ++h) {
    std::vector<double> column(At(kKeys), 0.0), diagonal(At(kKeys), 0.0);
    for (int64_t row = kKeys - kBlock; row < kKeys; ++row) {
      double sum = 0, most = -INFINITY;
      for (int64_t key = 0; key <= row; ++key) {
        most = std::fmax(most, Product(t, 0, h, row, key));
      }
      for (int64_t key = 0; key <= row; ++key) {
        sum += std::exp(Product(t, 0, h, row, key) - most);
      }
      for (int64_t key = 0; key <= row; ++key) {
        const double weight = std::exp(Product(t, 0, h, row, key) - most) / sum;
        column[At(key)] += weight;
        diagonal[At(row - key)] += weight;
      }
    }
    std::vector<std::vector<bool>> want(At(kBlocks),
                                        std::vector<bool>(At(kBlocks)));
    double sum = 0;
    for (const int64_t key : Falling(column)) {
      if (sum >= kGamma * kBlock) break;
      for (auto& blocks : want) blocks[At(key / kBlock)] = true;
      sum += column[At(key)];
    }
    sum = 0;
    for (const int64_t delta : Falling(diagonal)) {
      if (sum >= kGamma * kBlock) break;
      for (int64_t row = delta; row < kKeys; ++row) {
        want[At(row / kBlock)][At((row - delta) / kBlock)] = true;
      }
      sum += diagonal[At(delta)];
    }
    for (int64_t row = 0; row < kKeys; ++row) {
      std::vector<bool>& blocks = want[At(row / kBlock)];
      blocks[0] = blocks[At(row / kBlock)] = true;
      ASSERT_EQ(chosen.Row(0, h, row), Below(KeysOf(blocks), row + 1))
          << "head " << h << " row " << row;
    }
  }
  EXPECT_LT(chosen.Density(), 0.9);
}

TEST(PooledChoice, FlexPrefillFillsItsBudget) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kAll), {});
  for (const double tau : {0.0, 1.0}) {
    const Chosen chosen("flexprefill", {0, tau, 40, kBlock}, t);
    chosen.ForEachRow([&](int64_t, int64_t h, int64_t row) {
      ASSERT_EQ(chosen.Row(0, h, row).size(), 40u);
    });
  }
}

}  // namespace
}  // namespace heed::test
