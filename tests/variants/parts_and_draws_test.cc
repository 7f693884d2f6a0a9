// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Variants that draw keys by chance estimate without bias, those with learned
// sinks give them their weight, and one that skips tiles skips what its
// threshold says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/variants/selection_run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

Setting SettingOf(const Variant& variant, std::initializer_list<double> knobs) {
  Setting setting = SettingsOf(variant).front();
  std::copy(knobs.begin(), knobs.end(), setting.knobs);
  return setting;
}

// A mean over seeds, and how far from the truth it is in its own errors.
class SeedMean {
 public:
  void Add(double x) {
    ++count_;
    sum_ += x;
    squares_ += x * x;
  }
  double Deviation() const {
    const double mean = sum_ / count_;
    return std::sqrt(std::max(squares_ / count_ - mean * mean, 0.0));
  }
  double ErrorsFrom(double truth) const {
    return std::fabs(sum_ / count_ - truth) * std::sqrt(count_) / Deviation();
  }

 private:
  double count_ = 0, sum_ = 0, squares_ = 0;
};

// Sums of weights, and of weighted values, are those of dense attention on the
// average over seeds. (Their quotient, the output, is so in the limit only.)
void ExpectUnbiased(const std::string& name,
                    std::initializer_list<double> knobs, int seed_knob,
                    int seeds) {
  const char problem[] = "b1_h2_kv1_d8_q2_k150_causal";
  const eval::Tensors drawn = eval::MakeTensors(ProblemOf(problem), {});
  const eval::Tensors dense = eval::MakeTensors(ProblemOf(problem), {});
  const Setting none = {};
  ASSERT_TRUE(RunGuarded(VariantNamed("exact"), ArgsOf(dense, none)).ok());
  Setting setting = SettingOf(VariantNamed(name), knobs);
  SeedMean sums[2][2], values[2][2];
  if (Quick()) seeds /= 4;
  for (int seed = 1; seed <= seeds; ++seed) {
    setting.knobs[seed_knob] = seed;
    ASSERT_TRUE(RunGuarded(VariantNamed(name), ArgsOf(drawn, setting)).ok());
    for (int h = 0; h < 2; ++h) {
      for (int row = 0; row < 2; ++row) {
        const double sum =
            std::exp(static_cast<double>(*drawn.lse.At(0, row, h, 0)) -
                     static_cast<double>(*dense.lse.At(0, row, h, 0)));
        sums[h][row].Add(sum);
        values[h][row].Add(sum *
                           static_cast<double>(*drawn.out.At(0, row, h, 3)));
      }
    }
  }
  for (int h = 0; h < 2; ++h) {
    for (int row = 0; row < 2; ++row) {
      SCOPED_TRACE(name + ", head " + std::to_string(h));
      EXPECT_GT(sums[h][row].Deviation(), 0.01);
      EXPECT_LT(sums[h][row].ErrorsFrom(1), 4);
      EXPECT_LT(values[h][row].ErrorsFrom(
                    static_cast<double>(*dense.out.At(0, row, h, 3))),
                4);
    }
  }
}

TEST(Draws, VattentionHasNoBias) {
  ExpectUnbiased("vattention", {4, 8, 0.02, 0.1, 0.3, 0.1}, 6, 800);
}

TEST(Draws, MagicpigHasNoBias) {
  ExpectUnbiased("magicpig", {3, 6, 4, 8}, 4, 500);
}

// Keys so nearly opposite to the query that their cosine is rounded to -1, some
// of whose hashes agree with it.
TEST(Draws, MagicpigGivesNoKeyInfiniteWeight) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d2_q1_k4096_causal"), {});
  t.query.At(0, 0, 0, 0)[0] = 1;
  t.query.At(0, 0, 0, 0)[1] = 0;
  for (int64_t key = 0; key < 4096; ++key) {  // of mean zero
    const bool along = key % 2 == 0;
    t.key.At(0, key, 0, 0)[0] = along ? 1.0f : -1.0f;
    t.key.At(0, key, 0, 0)[1] = along == (key % 4 < 2) ? 1e-4f : -1e-4f;
  }
  const Variant& variant = VariantNamed("magicpig");
  const VariantArgs args = ArgsOf(t, SettingOf(variant, {1, 1024, 0, 0, 1}));
  ASSERT_TRUE(RunGuarded(variant, args).ok());
  double want[2];
  variant.reference(args, want);
  for (int c = 0; c < 2; ++c) {
    EXPECT_NEAR(static_cast<double>(t.out.At(0, 0, 0, 0)[c]), want[c], 1e-3);
  }
}

// Even where a tile has no other row that could keep it.
TEST(Parts, NansOfQueriesReachTheirRows) {
  for (const char* name : {"skip_softmax", "vattention", "magicpig", "hca",
                           "csa", "infllm", "nsa_gated", "sla", "scatterbrain",
                           "linformer", "nystromformer", "mra2", "vsa"}) {
    const Variant& variant = VariantNamed(name);
    const std::string mask = variant.non_causal ? "" : "_causal";
    for (const Setting& setting : SettingsOf(variant)) {
      SCOPED_TRACE(name + (" " + setting.name));
      for (const int64_t rows : {1, 90}) {
        const eval::Tensors t = eval::MakeTensors(
            ProblemOf("b1_h2_d8_q" + std::to_string(rows) + "_k150" + mask),
            {});
        const int64_t row = rows / 2;
        t.query.At(0, row, 0, 0)[3] = NAN;
        ASSERT_TRUE(RunGuarded(variant, ArgsOf(t, setting)).ok());
        EXPECT_TRUE(std::isnan(*t.out.At(0, row, 0, 5))) << rows << " rows";
      }
    }
  }
}

// Within epsilon, about as often as delta asks: the base sample only guesses
// the spread.
TEST(Draws, VattentionKeepsItsPromise) {
  const eval::Tensors drawn =
      eval::MakeTensors(ProblemOf("b1_h4_d8_q40_k600_causal"), {});
  const eval::Tensors dense =
      eval::MakeTensors(ProblemOf("b1_h4_d8_q40_k600_causal"), {});
  const Setting none = {};
  ASSERT_TRUE(RunGuarded(VariantNamed("exact"), ArgsOf(dense, none)).ok());
  const Setting setting =
      SettingOf(VariantNamed("vattention"), {4, 8, 0.02, 0.2, 0.1, 0.1});
  ASSERT_TRUE(
      RunGuarded(VariantNamed("vattention"), ArgsOf(drawn, setting)).ok());
  int beyond = 0, other = 0;
  for (int64_t row = 0; row < 40; ++row) {
    for (int64_t h = 0; h < 4; ++h) {
      const double sum =
          std::exp(static_cast<double>(*drawn.lse.At(0, row, h, 0)) -
                   static_cast<double>(*dense.lse.At(0, row, h, 0)));
      beyond += std::fabs(sum - 1) > 0.1;
      other += std::fabs(sum - 1) > 1e-5;
    }
  }
  EXPECT_LT(beyond, 160 / 5);
  EXPECT_GT(other, 160 / 2) << "nothing was drawn";
}

TEST(Parts, LearnedSinksTakeTheirWeight) {
  const float logits[2] = {2.5f, -1.0f};
  for (const char* name : {"hca", "csa"}) {
    SCOPED_TRACE(name);
    const eval::Tensors tensors =
        eval::MakeTensors(ProblemOf("b2_h2_d16_q30_k50_causal"), {});
    const Variant& variant = VariantNamed(name);
    VariantArgs args = ArgsOf(tensors, SettingOf(variant, {4, 8, 1}));
    args.args.scores.sink_logits = Strided(logits, 2, 1, 2, 1, 0, 0, 1);
    ASSERT_TRUE(RunGuarded(variant, args).ok());
    const std::vector<float> with = tensors.out.Dense();
    std::vector<double> want(with.size());
    variant.reference(args, want.data());
    double error = 0;
    for (size_t i = 0; i < with.size(); ++i) {
      error =
          std::fmax(error, std::fabs(static_cast<double>(with[i]) - want[i]));
    }
    EXPECT_LT(error, 1e-5);
    args.args.scores.sink_logits = ConstTensorView();
    ASSERT_TRUE(RunGuarded(variant, args).ok());
    EXPECT_NE(tensors.out.Dense(), with);
  }
}

// What is left out lies below the threshold, in every row, and something does.
TEST(SkipSoftmax, SkipsWhatLiesFarBelow) {
  eval::WorkloadOptions options;
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_d16_q40_k160_causal"), options);
  for (int64_t key = 0; key < 160; ++key) {  // a few keys that stand out
    for (int64_t c = 0; c < 16; ++c) {
      *t.key.At(0, key, 0, c) *= key % 50 == 3 ? 6.0f : 0.5f;
    }
  }
  constexpr int64_t kBlock = 8;
  const double least = std::log(64.0 / 160);
  const Chosen chosen("skip_softmax", {64, kBlock}, t);
  int64_t skipped = 0;
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t first = 0; first < 40; first += kBlock) {
      std::vector<double> most(kBlock, -INFINITY);
      for (int64_t begin = 0; begin <= first + kBlock - 1 + 120;
           begin += kBlock) {
        bool skip = true;
        for (int64_t i = 0; i < kBlock; ++i) {
          double of_tile = -INFINITY;
          for (int64_t key = begin;
               key < std::min(begin + kBlock, first + i + 121); ++key) {
            of_tile = std::fmax(of_tile, Product(t, 0, h, first + i, key) / 4);
          }
          double& of_row = most[static_cast<size_t>(i)];
          skip = skip && (of_tile == -INFINITY ||
                          of_tile - std::fmax(of_tile, of_row) < least);
        }
        for (int64_t i = 0; i < kBlock; ++i) {
          const int64_t end = std::min(begin + kBlock, first + i + 121);
          for (int64_t key = begin; key < end; ++key) {
            ASSERT_EQ(chosen.Row(0, h, first + i).count(key), skip ? 0u : 1u)
                << "head " << h << " row " << first + i << " key " << key;
            skipped += skip;
            double& of_row = most[static_cast<size_t>(i)];
            if (!skip) {
              of_row = std::fmax(of_row, Product(t, 0, h, first + i, key) / 4);
            }
          }
        }
      }
    }
  }
  EXPECT_GT(skipped, 100);
}

}  // namespace
}  // namespace heed::test
