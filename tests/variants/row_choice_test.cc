// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which keys the variants choose whose rows choose for themselves, against
// plain loops. Numbers are whole and scales powers of two, so scores are exact
// and have many ties.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

constexpr int64_t kKeys = 90;
constexpr int64_t kOffset = 20;  // of row 0 among the keys

eval::Tensors WholeNumbers(const char* problem) {
  eval::WorkloadOptions options;
  options.fill = eval::Fill::kInteger;
  return eval::MakeTensors(ProblemOf(problem), options);
}

const char kCausal[] = "b2_h4_kv2_d16_q70_k90_causal";

TEST(RowChoice, MobaKeepsTheOwnBlockAndTheBestMeans) {
  const eval::Tensors t = WholeNumbers(kCausal);
  constexpr int64_t kBlock = 8, kTop = 3;
  const Chosen chosen("moba", {kBlock, kTop}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t position = row + kOffset;
    const int64_t own = position / kBlock;
    std::vector<double> gate(static_cast<size_t>(own) + 1, 0.0);
    for (int64_t key = 0; key < own * kBlock; ++key) {
      gate[static_cast<size_t>(key / kBlock)] += Product(t, b, h, row, key);
    }
    gate.back() = INFINITY;
    const Keys want =
        Below(BestBlocks(gate, kBlock, kTop, kKeys), position + 1);
    ASSERT_EQ(chosen.Row(b, h, row), want) << "head " << h << " row " << row;
  });
}

TEST(RowChoice, DsaKeepsTheTokensOfTheIndexerForAllHeads) {
  const eval::Tensors t = WholeNumbers(kCausal);
  constexpr int64_t kTop = 11;
  const Chosen chosen("dsa", {kTop, 16}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t position = row + kOffset;
    std::vector<double> index(static_cast<size_t>(position) + 1, 0.0);
    for (int64_t key = 0; key <= position; ++key) {
      for (int64_t j = 0; j < 4; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < 16; ++c) {
          sum += static_cast<double>(*t.query.At(b, row, j, c)) *
                 static_cast<double>(*t.key.At(b, key, 0, c) +
                                     *t.key.At(b, key, 1, c));
        }
        index[static_cast<size_t>(key)] += std::fmax(sum, 0.0);
      }
    }
    ASSERT_EQ(chosen.Row(b, h, row), BestBlocks(index, 1, kTop, kKeys))
        << "head " << h << " row " << row;
  });
}

// Signs keep products in the mean only: the choice differs from that of all
// channels, has its size, and is the same for all heads.
TEST(RowChoice, DsaTurnsToFewerChannels) {
  const eval::Tensors t = WholeNumbers(kCausal);
  const Chosen all("dsa", {11, 16}, t);
  const Chosen few("dsa", {11, 6}, t);
  EXPECT_FALSE(few.Contains(all));
  few.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    EXPECT_EQ(few.Row(b, h, row), few.Row(b, 0, row));
    EXPECT_EQ(few.Row(b, h, row).size(), 11u);
  });
}

TEST(RowChoice, MsaKeepsTheOwnBlockAndThoseOfTheBestTokens) {
  const eval::Tensors t = WholeNumbers(kCausal);
  constexpr int64_t kBlock = 8, kTop = 3;
  const Chosen chosen("msa", {kBlock, kTop}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t position = row + kOffset;
    std::vector<double> best(static_cast<size_t>(position / kBlock) + 1,
                             -INFINITY);
    const int64_t first = h / 2 * 2;
    for (int64_t key = 0; key <= position; ++key) {
      double& block = best[static_cast<size_t>(key / kBlock)];
      block = std::fmax(block, Product(t, b, first, row, key) +
                                   Product(t, b, first + 1, row, key));
    }
    best.back() = INFINITY;
    const Keys want =
        Below(BestBlocks(best, kBlock, kTop, kKeys), position + 1);
    ASSERT_EQ(chosen.Row(b, h, row), want) << "head " << h << " row " << row;
  });
}

// Of row `spoilt` of the first sequence a query of the first key head is NaN;
// -1: of none.
void ExpectRelevantBlocks(int64_t spoilt) {
  const eval::Tensors t = WholeNumbers(kCausal);
  if (spoilt >= 0) *t.query.At(0, spoilt, 1, 3) = NAN;
  const auto is_spoilt = [=](int64_t b, int64_t kv, int64_t row) {
    return b == 0 && kv == 0 && row == spoilt;
  };
  constexpr int64_t kTop = 2, kBlock = 8, kInit = 3, kLocal = 20, kRepr = 2;
  const Chosen chosen("infllm", {kTop, kBlock, kInit, kLocal, kRepr}, t);
  const auto standing = [&](int64_t b, int64_t kv, int64_t block) {
    std::vector<double> relevance;
    for (int64_t key = block * kBlock; key < (block + 1) * kBlock; ++key) {
      double sum = 0;
      int64_t count = 0;
      for (int64_t p = std::max(key + 1, kOffset);
           p < std::min(key + 1 + kLocal, kKeys); ++p) {
        if (is_spoilt(b, kv, p - kOffset)) continue;
        ++count;
        for (int64_t h = 2 * kv; h < 2 * kv + 2; ++h) {
          sum += Product(t, b, h, p - kOffset, key);
        }
      }
      relevance.push_back(count == 0 ? 0 : sum / static_cast<double>(count));
    }
    return BestBlocks(relevance, 1, kRepr, kBlock);
  };
  for (int64_t b = 0; b < 2; ++b) {
    std::vector<Keys> of[2];  // [key head][block]
    for (int64_t i = 0; i < 22; ++i)
      of[i % 2].push_back(standing(b, i % 2, i / 2));
    for (int64_t row = 0; row < 70; ++row) {
      if (is_spoilt(b, 0, row)) continue;
      const int64_t at = row + kOffset;
      std::vector<double> score;
      int64_t near = 0;
      for (int64_t j = 0; j <= at / kBlock; ++j) {
        score.push_back(0);
        if (j * kBlock < kInit || (j + 1) * kBlock > at + 1 - kLocal) {
          score.back() = INFINITY;
          ++near;
          continue;
        }
        for (int64_t h = 0; h < 4; ++h) {
          for (const int64_t i : of[h / 2][static_cast<size_t>(j)]) {
            score.back() += Product(t, b, h, row, j * kBlock + i);
          }
        }
      }
      const Keys want =
          Below(BestBlocks(score, kBlock, near + kTop, kKeys), at + 1);
      for (int64_t h = 0; h < 4; ++h) {
        ASSERT_EQ(chosen.Row(b, h, row), want) << "row " << row;
      }
    }
  }
}

TEST(RowChoice, InfllmKeepsTheBlocksOfRelevantKeys) {
  ExpectRelevantBlocks(-1);
}
TEST(RowChoice, InfllmLetsNoNanChooseForOthers) {
  for (const int64_t row : {0, 30}) ExpectRelevantBlocks(row);
}

// Blocks that masks cut are kept beyond the budget: the row's own, and those at
// the ends of window and sinks.
TEST(RowChoice, MobaKeepsBlocksThatMasksCut) {
  const eval::Tensors t =
      WholeNumbers("b1_h1_d16_q1_k90_causal_wl50_sink4");  // sees 0-3 and 39-89
  const Chosen chosen("moba", {8, 1}, t);
  Keys want;
  for (int64_t key = 0; key < kKeys; ++key) {
    if (key < 4 || key == 39 || key >= 88) want.insert(key);
  }
  EXPECT_EQ(chosen.Row(0, 0, 0), want);
}

TEST(RowChoice, BudgetsGrow) {
  eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  EXPECT_TRUE(Chosen("moba", {8, 5}, t).Contains(Chosen("moba", {8, 2}, t)));
  EXPECT_TRUE(Chosen("dsa", {30}, t).Contains(Chosen("dsa", {7}, t)));
  EXPECT_TRUE(Chosen("msa", {8, 5}, t).Contains(Chosen("msa", {8, 2}, t)));
  EXPECT_LT(Chosen("dsa", {7}, t).Density(), 0.2);
}

}  // namespace
}  // namespace heed::test
