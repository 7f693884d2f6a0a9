// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// SparQ's compensation, by what sparq itself keeps: what it adds is the mean of
// the values that a row sees, and it adds the more the less is kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "tests/support/run.h"
#include "tests/variants/selection_run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

Setting SettingOf(std::initializer_list<double> knobs) {
  Setting setting = SettingsOf(VariantNamed("sparq_mean")).front();
  std::copy(knobs.begin(), knobs.end(), setting.knobs);
  return setting;
}

double At(const eval::Tensor& tensor, int64_t b, int64_t s, int64_t h,
          int64_t c) {
  return static_cast<double>(*tensor.At(b, s, h, c));
}

// The mean over the keys that a row sees under these masks, in double.
double MeanOfSeen(const eval::Tensors& t, const VariantArgs& a, int64_t b,
                  int64_t h, int64_t row, int64_t c) {
  double sum = 0, count = 0;
  ops::ForEachVisible(a.params, a.args, b, h, row,
                      [&](int64_t begin, int64_t end) {
                        for (int64_t key = begin; key < end; ++key) {
                          sum += At(t.value, b, key, h / 2, c);
                          ++count;
                        }
                      });
  return sum / count;
}

// lse says how much the choice missed; out has as much of the mean.
void ExpectMixed(const std::string& problem) {
  SCOPED_TRACE(problem);
  const eval::Tensors with = eval::MakeTensors(ProblemOf(problem), {});
  const eval::Tensors without = eval::MakeTensors(ProblemOf(problem), {});
  const Setting setting = SettingOf({9, 5, 3});
  const VariantArgs a = ArgsOf(with, setting);
  ASSERT_TRUE(RunGuarded(VariantNamed("sparq_mean"), a).ok());
  ASSERT_TRUE(RunGuarded(VariantNamed("sparq"), ArgsOf(without, setting)).ok());
  int mixed = 0;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t row = 0; row < 70; ++row) {
      const double kept =
          std::exp(At(without.lse, 1, row, h, 0) - At(with.lse, 1, row, h, 0));
      ASSERT_GT(kept, 0);
      ASSERT_LE(kept, 1);
      mixed += kept < 0.9;
      for (int64_t c = 0; c < 16; ++c) {
        ASSERT_NEAR(At(with.out, 1, row, h, c),
                    kept * At(without.out, 1, row, h, c) +
                        (1 - kept) * MeanOfSeen(with, a, 1, h, row, c),
                    1e-5)
            << "head " << h << ", row " << row;
      }
    }
  }
  EXPECT_GT(mixed, 100);
}

TEST(SparqMean, MixesInTheMeanOfWhatARowSees) {
  ExpectMixed("b2_h4_kv2_d16_q70_k90_causal");
  ExpectMixed("b2_h4_kv2_d16_q70_k90");
  ExpectMixed("b2_h4_kv2_d16_q70_k90_causal_wl25");
  ExpectMixed("b2_h4_kv2_d16_q70_k90_causal_wl25_sink3");
}

// Keys that are all alike weigh the same: what is missed is the share of those
// that are left out, and lse is that of all keys.
TEST(SparqMean, MissesTheShareOfKeysThatWeighTheSame) {
  const std::string problem = "b1_h2_kv1_d8_q1_k64_causal";
  const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
  for (int64_t key = 0; key < 64; ++key) {
    for (int64_t c = 0; c < 8; ++c) *t.key.At(0, key, 0, c) = 0.5f;
  }
  ASSERT_TRUE(
      RunGuarded(VariantNamed("sparq_mean"), ArgsOf(t, SettingOf({48, 8, 48})))
          .ok());
  for (int64_t h = 0; h < 2; ++h) {
    double dot = 0;
    for (int64_t c = 0; c < 8; ++c) dot += 0.5 * At(t.query, 0, 0, h, c);
    EXPECT_NEAR(At(t.lse, 0, 0, h, 0), dot / std::sqrt(8.0) + std::log(64.0),
                1e-5);
    for (int64_t c = 0; c < 8; ++c) {
      // The 48 latest of 64 are kept.
      double all = 0, kept = 0;
      for (int64_t key = 0; key < 64; ++key) {
        all += At(t.value, 0, key, 0, c) / 64;
        if (key >= 16) kept += At(t.value, 0, key, 0, c) / 48;
      }
      EXPECT_NEAR(At(t.out, 0, 0, h, c), 0.75 * kept + 0.25 * all, 1e-6);
    }
  }
}

}  // namespace
}  // namespace heed::test
