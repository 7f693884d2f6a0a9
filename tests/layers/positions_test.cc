// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A layer without positions does not know the order of its tokens; each
// encoding tells it, in the way its paper says.
#include "heed/positions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "heed/rope.h"
#include "tests/layers/layer_case.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr int64_t kRows = 13, kModel = 32, kHeads = 4, kDim = 8;

LayerCase SelfAttention() {
  LayerCase c;
  c.seqlen_q = kRows;
  c.params.model_dim = kModel;
  c.params.num_heads = kHeads;
  c.bias = true;
  return c;
}

std::vector<size_t> Permutation(uint64_t seed) {
  std::vector<size_t> order(kRows);
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

// Row i becomes row order[i] of x.
std::vector<float> Permuted(const std::vector<float>& x,
                            const std::vector<size_t>& order) {
  std::vector<float> to;
  for (const size_t row : order) {
    const auto at = x.begin() + static_cast<int64_t>(row) * kModel;
    to.insert(to.end(), at, at + kModel);
  }
  return to;
}

std::vector<double> Doubles(const std::vector<float>& x) {
  return std::vector<double>(x.begin(), x.end());
}

// How far the layer is from giving permuted rows for permuted tokens, as a
// share of the largest number. `prepare` may add positions to tokens.
double Change(const Layer& layer,
              const std::function<std::vector<float>(std::vector<float>)>&
                  prepare = nullptr) {
  const std::vector<size_t> order = Permutation(5);
  const auto run = [&](const std::vector<float>& tokens) {
    Layer copy(layer.layer());
    copy.scores = layer.scores;
    copy.query = Elements(prepare ? prepare(tokens) : tokens, DType::kF32);
    return copy.Run({"", 1, {}});
  };
  const std::vector<float>& tokens = layer.query.f32;
  const std::vector<double> want = Doubles(Permuted(run(tokens), order));
  return LargestError(run(Permuted(tokens, order)), want) / Largest(want);
}

TEST(Positions, WithoutThemPermutedTokensGivePermutedRows) {
  EXPECT_LE(Change(Layer(SelfAttention())), 1e-6);
}

class PositionsOnTargets : public OnEveryTarget {};

// Bit for bit where the order of keys leaves sums as they are: whatever the
// queries' order; and of keys whose weights are equal (no query tells them
// apart) and whose values are whole numbers.
TEST_P(PositionsOnTargets, WithoutThemBitsArePermutedToo) {
  const std::vector<size_t> order = Permutation(6);
  LayerCase cross = SelfAttention();
  cross.seqlen_k = 29;
  Layer layer(cross);
  const std::vector<float> want =
      Permuted(layer.Run({GetParam(), 1, {}}), order);
  layer.query = Elements(Permuted(layer.query.f32, order), DType::kF32);
  EXPECT_TRUE(SameBitsAs(layer.Run({GetParam(), 1, {}}), want));

  LayerCase whole = SelfAttention();
  whole.bias = false;
  whole.whole_numbers = true;
  Layer equal(whole);
  std::vector<float> tokens = equal.query.f32;
  for (float& x : tokens) x = std::round(4 * x);
  equal.query = Elements(tokens, DType::kF32);
  const std::vector<float> rows =
      Permuted(equal.Run({GetParam(), 1, {}}), order);
  equal.query = Elements(Permuted(tokens, order), DType::kF32);
  EXPECT_TRUE(SameBitsAs(equal.Run({GetParam(), 1, {}}), rows));
}

HEED_ON_EVERY_TARGET(PositionsOnTargets);

// ---- Added to tokens --------------------------------------------------------

std::vector<int32_t> FirstRows() {
  std::vector<int32_t> positions(kRows);
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

std::vector<float> Added(const std::vector<float>& tokens,
                         const std::vector<float>& table) {
  std::vector<float> to(tokens.size());
  const Status status =
      AddPositions(Bshd(tokens.data(), 1, kRows, 1, kModel), FirstRows().data(),
                   Bshd(table.data(), 1, kRows, 1, kModel),
                   Bshd(to.data(), 1, kRows, 1, kModel));
  EXPECT_TRUE(status.ok()) << ToString(status);
  return to;
}

TEST(Positions, SinusoidsTellTheOrderAndAnOffsetIsALinearMap) {
  std::vector<float> table(kRows * kModel);
  ASSERT_TRUE(FillSinusoids(kModel, 0, kRows, table.data()).ok());
  const auto at = [&](int64_t p, int64_t i) {
    return static_cast<double>(table[static_cast<size_t>(p * kModel + i)]);
  };
  for (int64_t p = 0; p < kRows; ++p) {
    for (int64_t i = 0; i < kModel / 2; ++i) {
      const double angle =
          static_cast<double>(p) /
          std::pow(10000.0, 2.0 * static_cast<double>(i) / kModel);
      EXPECT_NEAR(at(p, 2 * i), std::sin(angle), 6e-8);
      EXPECT_NEAR(at(p, 2 * i + 1), std::cos(angle), 6e-8);
      // Section 3.5: PE(p + 3) from PE(p), by a rotation that p is not in.
      if (p + 3 >= kRows) continue;
      const double turn =
          3 / std::pow(10000.0, 2.0 * static_cast<double>(i) / kModel);
      EXPECT_NEAR(
          at(p + 3, 2 * i),
          at(p, 2 * i) * std::cos(turn) + at(p, 2 * i + 1) * std::sin(turn),
          3e-7);
    }
  }
  // Any part of a table is the same table.
  std::vector<float> part(2 * kModel);
  ASSERT_TRUE(FillSinusoids(kModel, 7, 2, part.data()).ok());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), table.begin() + 7 * kModel));
  EXPECT_GE(Change(Layer(SelfAttention()),
                   [&](const std::vector<float>& tokens) {
                     return Added(tokens, table);
                   }),
            0.05);
}

TEST(Positions, LearnedOnesTellTheOrderAndGoWithTheirRow) {
  const std::vector<float> table = Normal(kRows * kModel, 9);
  const Layer layer(SelfAttention());
  EXPECT_GE(Change(layer,
                   [&](const std::vector<float>& tokens) {
                     return Added(tokens, table);
                   }),
            0.05);
  // Tokens and table permuted alike are permuted rows again.
  const std::vector<size_t> order = Permutation(5);
  const auto run = [&](const std::vector<float>& tokens) {
    Layer copy(layer.layer());
    copy.query = Elements(tokens, DType::kF32);
    return copy.Run({"", 1, {}});
  };
  const std::vector<double> want =
      Doubles(Permuted(run(Added(layer.query.f32, table)), order));
  const std::vector<float> got =
      run(Added(Permuted(layer.query.f32, order), Permuted(table, order)));
  EXPECT_LE(LargestError(got, want), 1e-6 * Largest(want));
}

// ---- Turned -----------------------------------------------------------------

TEST(Positions, RopeTellsTheOrderByDistancesAlone) {
  for (const bool interleaved : {false, true}) {
    for (const int64_t rotary_dim : {4, 8}) {
      LayerCase c = SelfAttention();
      c.rotary_dim = rotary_dim;
      c.interleaved = interleaved;
      const Layer layer(c);
      EXPECT_GE(Change(layer), 0.01);
      // All positions moved by the same: the same scores, to rounding.
      const std::vector<double> want = Doubles(layer.Run({"", 1, {}}));
      LayerRun moved;
      moved.first_position = 700;
      EXPECT_LE(LargestError(layer.Run(moved), want), 3e-5 * Largest(want));
      // As the definition has it there, too.
      oracle::MultiHeadTruth truth = layer.Truth();
      truth.query_position = truth.key_position = 700;
      const std::vector<double> there = oracle::MultiHeadDouble(truth);
      EXPECT_LE(LargestError(layer.Run(moved), there), 3e-5 * Largest(there));
    }
  }
}

// ---- Added to scores --------------------------------------------------------

// The rows of a layer in which queries are 0, so that what is added to scores
// is all that tells keys apart: softmax(addend) times values, by definition.
std::vector<double> Averages(
    const Layer& layer,
    const std::function<double(int64_t head, int64_t distance)>& addend) {
  oracle::MultiHeadTruth truth = layer.Truth();
  const std::vector<double> value =
      oracle::LinearDouble(truth.value_linear, truth.value, kRows);
  std::vector<double> attended(kRows * kModel);
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t h = 0; h < kHeads; ++h) {
      double sum = 0;
      for (int64_t j = 0; j < kRows; ++j) sum += std::exp(addend(h, j - i));
      for (int64_t j = 0; j < kRows; ++j) {
        const double weight = std::exp(addend(h, j - i)) / sum;
        for (int64_t k = h * kDim; k < (h + 1) * kDim; ++k) {
          attended[static_cast<size_t>(i * kModel + k)] +=
              weight * value[static_cast<size_t>(j * kModel + k)];
        }
      }
    }
  }
  return oracle::LinearDouble(truth.out_linear, attended, kRows);
}

LayerCase WithoutQueries() {
  LayerCase c = SelfAttention();
  c.zero_queries = true;
  return c;
}

TEST(Positions, AlibiFallsByTheSlopeAStep) {
  Layer layer(WithoutQueries());
  EXPECT_LE(Change(layer), 1e-6);
  std::vector<float> slopes(kHeads);
  ASSERT_TRUE(AlibiSlopes(kHeads, slopes.data()).ok());
  // Geometric, from 2^(-8 / heads) and by it.
  for (int64_t h = 0; h < kHeads; ++h) {
    EXPECT_EQ(slopes[static_cast<size_t>(h)],
              std::ldexp(1.0f, static_cast<int>(-2 * (h + 1))));
  }
  layer.scores.alibi_slopes = Bshd<const float>(slopes.data(), 1, 1, kHeads, 1);
  const std::vector<double> want =
      Averages(layer, [&](int64_t head, int64_t distance) {
        return -std::fabs(static_cast<double>(distance)) *
               static_cast<double>(slopes[static_cast<size_t>(head)]);
      });
  EXPECT_LE(LargestError(layer.Run({"", 1, {}}), want), 1e-6 * Largest(want));
  EXPECT_GE(Change(layer), 0.05);
}

TEST(Positions, T5TellsDistancesApartUpToItsLargest) {
  T5Buckets buckets;
  buckets.num_buckets = 8;
  buckets.max_distance = 6;
  // Two distances of their own, those up to 6 by powers, and one for the rest.
  int64_t before = 0;
  for (int64_t away = 1; away < 40; ++away) {
    const int64_t bucket = T5Bucket(buckets, -away);
    EXPECT_GE(bucket, before);
    EXPECT_EQ(T5Bucket(buckets, away), bucket + 4);
    if (away >= 6) {
      EXPECT_EQ(bucket, 3);
    }
    before = bucket;
  }
  EXPECT_EQ(T5Bucket(buckets, INT64_MAX), 7);
  EXPECT_EQ(T5Bucket(buckets, INT64_MIN), 3);

  const std::vector<float> weight = Normal(8 * kHeads, 8);
  constexpr int64_t kReach = 6;
  std::vector<float> bias(kHeads * (2 * kReach + 1));
  ASSERT_TRUE(
      FillT5Bias(buckets, kHeads, weight.data(), kReach, bias.data()).ok());
  Layer layer(WithoutQueries());
  layer.scores.relative_bias =
      Bshd<const float>(bias.data(), 1, 1, kHeads, 2 * kReach + 1);
  const std::vector<double> want =
      Averages(layer, [&](int64_t head, int64_t distance) {
        return static_cast<double>(weight[static_cast<size_t>(
            T5Bucket(buckets, distance) * kHeads + head)]);
      });
  EXPECT_LE(LargestError(layer.Run({"", 1, {}}), want), 1e-6 * Largest(want));
  EXPECT_GE(Change(layer), 0.05);
}

// ---- Stretched --------------------------------------------------------------

// NTK as its authors have it: the slowest pair is that of linear scaling, the
// fastest stays.
// A ramp ends at the last channel, however slow its slow end is.
TEST(Positions, YarnRampsFromItsFastEndToItsSlowOne) {
  RopeScaling yarn;
  yarn.kind = RopeScalingKind::kYarn;
  yarn.factor = 4;
  yarn.original_positions = 4096;
  yarn.beta_slow = 1e-9;
  double plain[32], scaled[32];
  ASSERT_TRUE(RopeFrequencies(10000, 64, plain).ok());
  ASSERT_TRUE(ScaledRopeFrequencies(10000, 64, yarn, scaled, nullptr).ok());
  // Pair 10.46 turns 32 times: the ramp goes from 10 to 63.
  for (int i = 0; i < 32; ++i) {
    const double ramp = i <= 10 ? 0.0 : (i - 10) / 53.0;
    const double want = plain[i] / 4 * ramp + plain[i] * (1 - ramp);
    EXPECT_NEAR(scaled[i], want, 1e-12) << i;
  }
}

TEST(Positions, NtkKeepsTheFastestPairAndScalesTheSlowest) {
  RopeScaling ntk;
  ntk.kind = RopeScalingKind::kNtk;
  ntk.factor = 8;
  double plain[32], scaled[32];
  ASSERT_TRUE(RopeFrequencies(10000, 64, plain).ok());
  ASSERT_TRUE(ScaledRopeFrequencies(10000, 64, ntk, scaled, nullptr).ok());
  EXPECT_EQ(scaled[0], plain[0]);
  EXPECT_NEAR(scaled[31], plain[31] / 8, 1e-12 * plain[31]);
  // Dynamic: as it was, up to the length that the model knows.
  ntk.original_positions = 4096;
  ntk.seqlen = 100;
  ASSERT_TRUE(ScaledRopeFrequencies(10000, 64, ntk, scaled, nullptr).ok());
  for (int i = 0; i < 32; ++i) EXPECT_NEAR(scaled[i], plain[i], 1e-14);
}

}  // namespace
}  // namespace heed::test
