// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which keys the variants choose that estimate attention from fewer channels or
// fewer keys, against plain loops in double. Scores of kept blocks may lie
// below those of blocks that were left out by rounding only.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/support/run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

constexpr int64_t kDim = 16;
constexpr int64_t kOffset = 20;  // of row 0 among the keys
const char kCausal[] = "b2_h4_kv2_d16_q70_k90_causal";

size_t At(int64_t i) { return static_cast<size_t>(i); }

std::vector<double> Softmax(std::vector<double> x) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& value : x) sum += value = std::exp(value - most);
  for (double& value : x) value /= sum;
  return x;
}

// The kept keys below `end` are `total` whole blocks, as far as there are so
// many, and none of the others scores higher than one of them.
void ExpectBest(const Keys& kept, const std::vector<double>& score,
                int64_t block, int64_t total, int64_t end) {
  double least = INFINITY, most = -INFINITY;
  int64_t blocks = 0;
  for (int64_t j = 0; j * block < end; ++j) {
    const bool has = kept.contains(j * block);
    for (int64_t key = j * block; key < std::min((j + 1) * block, end); ++key) {
      ASSERT_EQ(kept.contains(key), has) << "key " << key;
    }
    blocks += has;
    double& side = has ? least : most;
    side = has ? std::fmin(side, score[At(j)]) : std::fmax(side, score[At(j)]);
  }
  ASSERT_EQ(blocks, std::min(total, (end + block - 1) / block));
  ASSERT_GE(least, most - 1e-5);
}

double Of(const eval::Tensor& tensor, int64_t b, int64_t s, int64_t h,
          int64_t c) {
  return static_cast<double>(*tensor.At(b, s, h, c));
}

TEST(EstimatedChoice, SparqReadsTheLargestChannelsOfTheGroup) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  constexpr int64_t kTop = 9, kChannels = 5, kLocal = 3;
  const Chosen chosen("sparq", {kTop, kChannels, kLocal}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t kv = h / 2, end = row + kOffset + 1;
    const auto size = [&](int64_t c) {
      return std::fabs(Of(t.query, b, row, 2 * kv, c)) +
             std::fabs(Of(t.query, b, row, 2 * kv + 1, c));
    };
    std::vector<int64_t> channel(kDim);
    std::iota(channel.begin(), channel.end(), 0);
    std::sort(channel.begin(), channel.end(),
              [&](int64_t i, int64_t j) { return size(i) > size(j); });
    std::vector<double> score(At(end), 0.0);
    for (int64_t head = 2 * kv; head < 2 * kv + 2; ++head) {
      double all = 0, read = 0;
      for (int64_t i = 0; i < kDim; ++i) {
        const double q = std::fabs(Of(t.query, b, row, head, channel[At(i)]));
        all += q;
        read += i < kChannels ? q : 0;
      }
      std::vector<double> x(At(end), 0.0);
      for (int64_t key = 0; key < end; ++key) {
        for (int64_t i = 0; i < kChannels; ++i) {
          x[At(key)] += Of(t.query, b, row, head, channel[At(i)]) *
                        Of(t.key, b, key, kv, channel[At(i)]);
        }
        x[At(key)] /= std::sqrt(kDim * read / all);
      }
      x = Softmax(x);
      for (int64_t key = 0; key < end; ++key) score[At(key)] += x[At(key)];
    }
    for (int64_t key = end - kLocal; key < end; ++key) score[At(key)] = 9;
    ExpectBest(chosen.Row(b, h, row), score, 1, kTop, end);
  });
}

TEST(EstimatedChoice, DoubleSparsityReadsTheHeadsLabelChannels) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  for (int64_t key = 0; key < 90; ++key) {  // channels that stand out
    for (int64_t kv = 0; kv < 2; ++kv) {
      *t.key.At(0, key, kv, 3 + kv) *= 40;
      *t.key.At(0, key, kv, 9) *= 30;
      *t.key.At(1, key, kv, 0) *= 40;
      *t.key.At(1, key, kv, 15) *= 30;
    }
  }
  constexpr int64_t kTop = 9;
  const Chosen chosen("double_sparsity", {kTop, 8}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t kv = h / 2, end = row + kOffset + 1;
    const int64_t first = b == 1 ? 0 : 3 + kv, second = b == 1 ? 15 : 9;
    std::vector<double> score;
    for (int64_t key = 0; key < end; ++key) {
      score.push_back(
          (Of(t.query, b, row, h, first) * Of(t.key, b, key, kv, first) +
           Of(t.query, b, row, h, second) * Of(t.key, b, key, kv, second)) /
          4);
    }
    ExpectBest(chosen.Row(b, h, row), score, 1, kTop, end);
  });
}

// The weights that a group's heads pay to means of `kernel` keys.
std::vector<double> WindowWeights(const eval::Tensors& t, int64_t b, int64_t kv,
                                  int64_t row, int64_t kernel, int64_t stride) {
  const int64_t end = row + kOffset + 1;
  const int64_t count = end < kernel ? 0 : (end - kernel) / stride + 1;
  std::vector<double> weight(At(count), 0.0);
  for (int64_t h = 2 * kv; h < 2 * kv + 2 && count > 0; ++h) {
    std::vector<double> x(At(count), 0.0);
    for (int64_t w = 0; w < count; ++w) {
      for (int64_t key = w * stride; key < w * stride + kernel; ++key) {
        x[At(w)] +=
            Product(t, b, h, row, key) / 4 / static_cast<double>(kernel);
      }
    }
    x = Softmax(x);
    for (int64_t w = 0; w < count; ++w) weight[At(w)] += x[At(w)];
  }
  return weight;
}

TEST(EstimatedChoice, NsaKeepsTheBlocksThatItsMeansFindHeaviest) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  constexpr int64_t kTop = 5, kBlock = 8, kKernel = 6, kStride = 2;
  const Chosen chosen("nsa", {kTop, kBlock, kKernel, kStride, 0}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t end = row + kOffset + 1, own = (end - 1) / kBlock;
    const std::vector<double> weight =
        WindowWeights(t, b, h / 2, row, kKernel, kStride);
    std::vector<double> score(At(own) + 1, 0.0);
    for (int64_t w = 0; w < std::ssize(weight); ++w) {
      for (int64_t piece = w; piece < w + 3; ++piece) {
        score[At(piece / 4)] += weight[At(w)];
      }
    }
    score[0] = score[At(own)] = score[At(own) - 1] = 9;
    ExpectBest(chosen.Row(b, h, row), score, kBlock, kTop, end);
  });
}

TEST(EstimatedChoice, NsaSeesItsWindowBesides) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  const Chosen blocks("nsa", {4, 8, 6, 2, 0}, t);
  const Chosen both("nsa", {4, 8, 6, 2, 30}, t);
  both.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    Keys want = blocks.Row(b, h, row);
    for (int64_t d = 0; d < 30; ++d) {
      if (row + kOffset >= d) want.insert(row + kOffset - d);
    }
    ASSERT_EQ(both.Row(b, h, row), want);
  });
}

TEST(EstimatedChoice, InfllmKeepsTheBlocksOfTheBestWindows) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  constexpr int64_t kTop = 6, kBlock = 8, kKernel = 5, kStride = 3;
  const Chosen chosen("infllm_v2", {kTop, kBlock, kKernel, kStride, 2, 10}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t end = row + kOffset + 1;
    const std::vector<double> weight =
        WindowWeights(t, b, h / 2, row, kKernel, kStride);
    std::vector<double> score(At((end + kBlock - 1) / kBlock), 0.0);
    for (int64_t w = 0; w < std::ssize(weight); ++w) {
      for (const int64_t key : {w * kStride, w * kStride + kKernel - 1}) {
        double& block = score[At(key / kBlock)];
        block = std::fmax(block, weight[At(w)]);
      }
    }
    for (int64_t j = 0; j < std::ssize(score); ++j) {
      if (j < 2 || (j + 1) * kBlock > end - 10) score[At(j)] = 9;
    }
    ExpectBest(chosen.Row(b, h, row), score, kBlock, kTop, end);
  });
}

TEST(EstimatedChoice, DuoKeepsAllInRetrievalHeads) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  const Chosen chosen("duo_attention", {2, 4, 10}, t);
  chosen.ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    const int64_t end = row + kOffset + 1;
    Keys want;
    for (int64_t key = 0; key < end; ++key) {
      if (h >= 2 || key < 4 || key >= end - 10) want.insert(key);
    }
    ASSERT_EQ(chosen.Row(b, h, row), want);
  });
}

TEST(EstimatedChoice, BudgetsGrow) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf(kCausal), {});
  EXPECT_TRUE(
      Chosen("sparq", {30, 5, 3}, t).Contains(Chosen("sparq", {9, 5, 3}, t)));
  EXPECT_TRUE(Chosen("double_sparsity", {30}, t)
                  .Contains(Chosen("double_sparsity", {9}, t)));
  EXPECT_TRUE(Chosen("nsa", {7, 8, 6, 2, 4}, t)
                  .Contains(Chosen("nsa", {5, 8, 6, 2, 4}, t)));
  EXPECT_TRUE(Chosen("infllm_v2", {7, 8, 5, 3, 1, 4}, t)
                  .Contains(Chosen("infllm_v2", {5, 8, 5, 3, 1, 4}, t)));
}

}  // namespace
}  // namespace heed::test
