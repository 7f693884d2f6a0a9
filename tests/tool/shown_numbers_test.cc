// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every number of a comparison, computed another way: from the oracle's outputs
// and from counting pairs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/eval/tensor_source.h"
#include "lib/oracle/oracle.h"
#include "tests/tool/comparison_json.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_dv8_q90_k120_f32_causal";

// Comparisons that several tests look at, run once.
const Json& Selections() {
  static const Json comparison =
      CompareJson(std::string("--repeats 1 --problem ") + kProblem +
                  " window_sink:window=16:sink=3 "
                  "block_topk:block=32:total_blocks=2");
  return comparison;
}

// Every variant, on a prompt short enough for a sanitizer.
const Json& AllVariants() {
  static const Json comparison =
      CompareJson("--threads 1 --repeats 4 --tokens 24 --layers 2,10");
  return comparison;
}

struct Answer {
  std::vector<double> out, lse;
};

Answer Oracle(const eval::Tensors& tensors, const AttentionParams& params) {
  const AttentionShape& shape = tensors.problem.shape;
  const size_t rows =
      static_cast<size_t>(shape.batch * shape.seqlen_q * shape.num_heads);
  Answer answer;
  answer.out.resize(rows * static_cast<size_t>(shape.head_dim_v));
  answer.lse.resize(rows);
  oracle::AttentionDouble(params, tensors.Args(), answer.out.data(),
                          answer.lse.data());
  return answer;
}

// A window of 16 keys and 3 sinks, as a mask of the caller's own.
AttentionParams Windowed(AttentionParams params) {
  params.window_left = 15;
  params.sink_size = 3;
  return params;
}

TEST(ShownNumbers, AreTheOraclesErrorsAndMass) {
  const Json& comparison = Selections();
  const Json row = RowOf(comparison, "window_sink");
  const eval::Tensors tensors =
      eval::MakeSynthetic(kProblem, {}).layers[0].tensors;
  const Answer exact = Oracle(tensors, tensors.problem.params);
  const Answer kept = Oracle(tensors, Windowed(tensors.problem.params));
  double error = 0, truth = 0, got = 0, product = 0, largest = 0;
  for (size_t i = 0; i < exact.out.size(); ++i) {
    const double difference = kept.out[i] - exact.out[i];
    error += difference * difference;
    truth += exact.out[i] * exact.out[i];
    got += kept.out[i] * kept.out[i];
    product += kept.out[i] * exact.out[i];
    largest = std::max(largest, std::fabs(difference));
  }
  EXPECT_NEAR(row.at("rel_l2").get<double>(), std::sqrt(error / truth), 1e-6);
  EXPECT_NEAR(row.at("max_abs").get<double>(), largest, 1e-6);
  EXPECT_NEAR(row.at("cosine").get<double>(), product / std::sqrt(truth * got),
              1e-6);
  std::vector<double> mass;
  for (size_t i = 0; i < exact.lse.size(); ++i) {
    mass.push_back(std::exp(kept.lse[i] - exact.lse[i]));
  }
  std::sort(mass.begin(), mass.end());
  double sum = 0;
  for (const double share : mass) sum += share;
  EXPECT_NEAR(row.at("mass_mean").get<double>(),
              sum / static_cast<double>(mass.size()), 1e-6);
  const double at = 0.05 * static_cast<double>(mass.size() - 1);
  const size_t below = static_cast<size_t>(at);
  EXPECT_NEAR(
      row.at("mass_p05").get<double>(),
      mass[below] + (at - std::floor(at)) * (mass[below + 1] - mass[below]),
      1e-6);
  // `exact` itself has no error but rounding.
  const Json baseline = RowOf(comparison, "exact");
  EXPECT_LT(baseline.at("rel_l2").get<double>(), 1e-6);
  EXPECT_NEAR(baseline.at("mass_mean").get<double>(), 1, 1e-6);
}

// A head's error and mass, from its part of the oracle's outputs.
TEST(ShownNumbers, QuantilesAreThoseOfTheOraclesRows) {
  const Json& comparison = Selections();
  const Json row = RowOf(comparison, "window_sink");
  const eval::Tensors tensors =
      eval::MakeSynthetic(kProblem, {}).layers[0].tensors;
  const Answer exact = Oracle(tensors, tensors.problem.params);
  const Answer kept = Oracle(tensors, Windowed(tensors.problem.params));
  const size_t dim = static_cast<size_t>(tensors.problem.shape.head_dim_v);
  std::vector<double> errors;
  for (size_t i = 0; i < exact.out.size(); i += dim) {
    double error = 0, truth = 0;
    for (size_t c = i; c < i + dim; ++c) {
      error += std::pow(kept.out[c] - exact.out[c], 2);
      truth += std::pow(exact.out[c], 2);
    }
    errors.push_back(std::sqrt(error / truth));
  }
  std::sort(errors.begin(), errors.end());
  ASSERT_GT(errors.back(), 0.1);
  const Json& levels = comparison.at("row_quantiles");
  ASSERT_EQ(row.at("row_rel_l2").size(), levels.size());
  for (size_t i = 0; i < levels.size(); ++i) {
    const double at =
        levels[i].get<double>() * static_cast<double>(errors.size() - 1);
    const size_t below = static_cast<size_t>(at);
    const size_t above = std::min(below + 1, errors.size() - 1);
    const double share = at - static_cast<double>(below);
    EXPECT_NEAR(row.at("row_rel_l2")[i].get<double>(),
                errors[below] * (1 - share) + errors[above] * share, 1e-5)
        << levels[i];
  }
}

TEST(ShownNumbers, PhasesAddUpToTheTime) {
  const Json comparison =
      CompareJson(std::string("--repeats 3 --problem ") + kProblem +
                  " block_topk window_sink linear_elu");
  for (const Json& row : comparison.at("rows")) {
    double sum = 0;
    for (const Json& phase : row.at("phases")) sum += phase.get<double>();
    EXPECT_NEAR(sum, row.at("time").get<double>(), 1e-9 * sum)
        << row.at("name");
  }
  // Each was in the phases that it enters, and in no other.
  const auto was_in = [&](const char* name) {
    std::set<std::string> phases;
    const Json row = RowOf(comparison, name);
    for (const auto& [phase, seconds] : row.at("phases").items()) {
      if (seconds.get<double>() > 0) phases.insert(phase);
    }
    return phases;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(was_in("exact"), Names({"attend"}));
  EXPECT_EQ(was_in("linear_elu"), Names({"attend"}));
  EXPECT_EQ(was_in("block_topk"),
            Names({"estimate", "select", "build", "attend"}));
}

TEST(ShownNumbers, AreEachHeads) {
  const Json row = RowOf(Selections(), "window_sink");
  const Json heads = row.at("layers").at(0).at("heads");
  const eval::Tensors tensors =
      eval::MakeSynthetic(kProblem, {}).layers[0].tensors;
  const Answer exact = Oracle(tensors, tensors.problem.params);
  const Answer kept = Oracle(tensors, Windowed(tensors.problem.params));
  constexpr size_t kHeads = 4, kDim = 8;
  for (size_t head = 0; head < kHeads; ++head) {
    double error = 0, truth = 0, mass = 0, rows = 0;
    for (size_t i = head; i < exact.lse.size(); i += kHeads) {
      mass += std::exp(kept.lse[i] - exact.lse[i]);
      ++rows;
      for (size_t c = i * kDim; c < (i + 1) * kDim; ++c) {
        error += (kept.out[c] - exact.out[c]) * (kept.out[c] - exact.out[c]);
        truth += exact.out[c] * exact.out[c];
      }
    }
    EXPECT_NEAR(heads.at("rel_l2").at(head).get<double>(),
                std::sqrt(error / truth), 1e-6);
    EXPECT_NEAR(heads.at("mass_mean").at(head).get<double>(), mass / rows,
                1e-6);
    EXPECT_NEAR(heads.at("density").at(head).get<double>(),
                row.at("density").get<double>(), 1e-12);
  }
}

// Pairs and keys that masks let a problem's rows see, all heads together.
struct Counted {
  double pairs = 0, keys = 0;
};

Counted Count(const eval::Tensors& tensors, const AttentionParams& params) {
  const AttentionShape& shape = tensors.problem.shape;
  Counted counted;
  std::set<std::vector<int64_t>> keys;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      for (int64_t row = 0; row < shape.seqlen_q; ++row) {
        for (int64_t key = 0; key < shape.seqlen_k; ++key) {
          if (!oracle::Visible(params, tensors.Args(), b, h, row, key))
            continue;
          ++counted.pairs;
          keys.insert({b, h / (shape.num_heads / shape.num_kv_heads), key});
        }
      }
    }
  }
  counted.keys = static_cast<double>(keys.size());
  return counted;
}

TEST(ShownNumbers, CountPairsAndBytes) {
  const Json& comparison = Selections();
  const eval::Tensors tensors =
      eval::MakeSynthetic(kProblem, {}).layers[0].tensors;
  const AttentionParams& params = tensors.problem.params;
  const Counted all = Count(tensors, params);
  const Counted kept = Count(tensors, Windowed(params));
  constexpr double kDims = 16 + 8, kRows = 2 * 4 * 90;
  for (const auto& [name, counted] :
       {std::pair{"exact", all}, std::pair{"window_sink", kept}}) {
    const Json row = RowOf(comparison, name);
    EXPECT_EQ(row.at("flops"), 2 * counted.pairs * kDims) << name;
    EXPECT_EQ(row.at("bytes"), 4 * kDims * (kRows + counted.keys)) << name;
    EXPECT_EQ(row.at("kv_bytes"), 4 * kDims * counted.keys) << name;
    EXPECT_NEAR(row.at("density").get<double>(), counted.pairs / all.pairs,
                1e-12);
  }
}

// block_topk on 90 rows over 120 keys, blocks of 32: every score of its
// estimator is one product of means.
TEST(ShownNumbers, AddWhatChoosingTook) {
  const Json& comparison = Selections();
  const Json row = RowOf(comparison, "block_topk");
  const double pairs =
      row.at("density").get<double>() *
      Count(eval::MakeSynthetic(kProblem, {}).layers[0].tensors,
            eval::MakeSynthetic(kProblem, {}).layers[0].tensors.problem.params)
          .pairs;
  // Rows stand at positions 30 to 119, and every block that some row of a block
  // sees is scored: rows 0-31 see 2, rows 32-63 see 3, rows 64-89 see 4.
  constexpr double kBatchHeads = 2 * 4, kScored = 9;
  const double pooled = 2 * 16 * (90 * 4 + 120 * 2);
  EXPECT_EQ(row.at("select_flops"), kBatchHeads * kScored * 2 * 16 + pooled);
  EXPECT_NEAR(row.at("flops").get<double>(),
              2 * pairs * (16 + 8) + kBatchHeads * kScored * 2 * 16 + pooled,
              1e-3);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half]
                                : (values[half - 1] + values[half]) / 2;
}

double SpreadOf(const std::vector<double>& values, double median) {
  std::vector<double> deviations;
  for (const double value : values) {
    deviations.push_back(std::fabs(value - median));
  }
  return Median(deviations);
}

TEST(ShownNumbers, FollowFromTheRounds) {
  const Json& comparison = AllVariants();
  const Json exact = RowOf(comparison, "exact");
  for (const Json& row : comparison.at("rows")) {
    SCOPED_TRACE(row.at("name").get<std::string>());
    const std::vector<double> rounds = row.at("seconds");
    ASSERT_EQ(rounds.size(), 4u);
    const double median = Median(rounds);
    EXPECT_NEAR(row.at("time").get<double>(), median, 1e-12 * median);
    const double mad = SpreadOf(rounds, median);
    EXPECT_NEAR(row.at("mad").get<double>(), mad, 1e-9 * median);
    EXPECT_NEAR(row.at("spread").get<double>(), mad / median, 1e-9);
    EXPECT_EQ(row.at("noisy"), mad > 0.03 * median);
    EXPECT_NEAR(row.at("speedup").get<double>(),
                exact.at("time").get<double>() / median, 1e-9);
    const auto over = [&row](const char* key) {
      const Json &a = row.at("layers").at(0).at(key),
                 &b = row.at("layers").at(1).at(key);
      return a.is_null() ? std::pair(0.0, 0.0)
                         : std::pair(a.get<double>(), b.get<double>());
    };
    for (const char* key : {"flops", "select_flops", "bytes", "kv_bytes"}) {
      const auto [a, b] = over(key);
      EXPECT_EQ(row.at(key).get<double>(), a + b) << key;
    }
    for (const char* key : {"max_abs", "workspace_bytes"}) {
      const auto [a, b] = over(key);
      EXPECT_EQ(row.at(key).get<double>(), std::max(a, b)) << key;
    }
    for (const char* key :
         {"density", "mass_mean", "mass_p05", "rel_l2", "cosine"}) {
      if (row.at(key).is_null()) continue;
      const auto [a, b] = over(key);
      EXPECT_NEAR(row.at(key).get<double>(), (a + b) / 2, 1e-12) << key;
    }
    EXPECT_EQ(row.at("beaten_by_zeros"), row.at("rel_l2").get<double>() >= 1);
    EXPECT_TRUE(row.at("token_time").is_null());
  }
}

// The stars, by the rule in words and the numbers in the file.
TEST(ShownNumbers, StarWhatNothingBeats) {
  const Json& comparison = AllVariants();
  const double rounding =
      2 * RowOf(comparison, "exact").at("rel_l2").get<double>();
  const auto error = [&](const Json& row) {
    return std::max(rounding, row.at("rel_l2").get<double>());
  };
  int stars = 0;
  for (const Json& row : comparison.at("rows")) {
    bool beaten = error(row) >= 1;
    for (const Json& other : comparison.at("rows")) {
      if (error(other) >= 1 || error(other) > error(row)) continue;
      const double time = row.at("time"), spread = row.at("mad");
      const double other_time = other.at("time"),
                   other_spread = other.at("mad");
      const double gap = other_time - time;
      const double spreads = spread + other_spread;
      if (error(other) < error(row)
              ? gap <= spreads
              : gap < -spreads || (row.at("noisy") && gap < 0)) {
        beaten = true;
      }
    }
    EXPECT_EQ(row.at("pareto"), !beaten) << row.at("name");
    stars += !beaten;
  }
  EXPECT_GE(stars, 1);
}

// The last 3 tokens of 40, over keys and values of 3 heads of 64 floats.
TEST(ShownNumbers, DecodeByToken) {
  const Json comparison = CompareJson(
      "--repeats 3 --tokens 40 --layers 2,10 --queries 3 "
      "window_sink:window=8:sink=2");
  EXPECT_EQ(comparison.at("run").at("queries"), 3);
  EXPECT_EQ(comparison.at("input").at("layers").size(), 2u);
  constexpr double kKeyAndValue = 3 * 2 * 64 * 4;
  for (const auto& [name, keys] : {std::pair{"exact", (38 + 39 + 40) / 3.0},
                                   std::pair{"window_sink", 8 + 2.0}}) {
    const Json row = RowOf(comparison, name);
    const double time = row.at("time");
    EXPECT_NEAR(row.at("token_time").get<double>(), time / 3, 1e-12 * time);
    EXPECT_NEAR(row.at("tokens_per_second").get<double>(), 3 / time,
                1e-9 / time);
    EXPECT_NEAR(row.at("token_kv_bytes").get<double>(), 2 * kKeyAndValue * keys,
                1e-6)
        << name;
    EXPECT_NEAR(row.at("layers").at(0).at("token_kv_bytes").get<double>(),
                kKeyAndValue * keys, 1e-6);
  }
}

// Where scores are near 1e5, what f32 holds of lse is seen in exact's own mass.
TEST(ShownNumbers, KnowMassAsFarAsLse) {
  const std::string problem = "b1_h1_d16_q64_f32_causal_scale8000";
  const eval::TensorSource source = eval::MakeSynthetic(problem, {});
  const eval::Tensors& tensors = source.layers[0].tensors;
  double largest = 0;  // of |lse|, which is the largest score there
  for (int64_t q = 0; q < 64; ++q) {
    double top = -1e300;
    for (int64_t k = 0; k <= q; ++k) {
      double score = 0;
      for (int64_t c = 0; c < 16; ++c) {
        score += 8000.0 * *tensors.query.At(0, q, 0, c) *
                 *tensors.key.At(0, k, 0, c);
      }
      top = std::max(top, score);
    }
    largest = std::max(largest, std::fabs(top));
  }
  EXPECT_GT(largest, 5e4);
  const Json exact =
      RowOf(CompareJson("--repeats 1 exact --problem " + problem), "exact");
  const double off = std::fabs(exact.at("mass_mean").get<double>() - 1);
  EXPECT_LE(off, 1e-7 * largest);
  EXPECT_GT(off, 1e-7);
}

}  // namespace
}  // namespace heed::test
