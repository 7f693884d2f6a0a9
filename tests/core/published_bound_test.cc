// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What docs/numerics.md says about errors in absolute terms, on every table:
// the bound for inputs of unit variance, and where finite inputs reach the end
// of the range.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr double kPublishedBound = 1e-6;  // times the largest |value|

// Half a unit in the last place of the type, relative to the largest |out|.
double OutputUnit(DType dtype) {
  return dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0;
}

class PublishedBound : public OnEveryTarget {};

TEST_P(PublishedBound, Holds) {
  for (const char* text :
       {"h1_d64_q64", "h2_kv1_d64_q32_k1000", "h1_d7_dv9_q64_k2048",
        "h1_d1024_q8_k300", "h1_d128_q3_k12293", "h1_d64_q100_causal",
        "h2_kv1_d64_q32_k1000_bf16", "h1_d128_q3_k5000_bf16_causal",
        "h2_kv1_d64_q32_k1000_f16", "h1_d128_q3_k5000_f16_causal",
        "h2_kv1_d64_q32_k1000_kvi8", "h1_d128_q3_k5000_kve4m3_causal",
        "h2_kv1_d64_q32_k1000_kvu4", "h1_d128_q3_k5000_kvu4_rot_causal",
        "h2_kv1_d64_q3_k1000_kve5m2_rot"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    if (Quick() && tensors.problem.shape.seqlen_k > 4096) continue;
    const AttentionArgs args = tensors.Args();
    const Status status =
        RunOn(RunConfig{GetParam()}, tensors.problem.params, args);
    ASSERT_TRUE(status.ok()) << ToString(status);
    const std::vector<float> out = tensors.out.Dense();
    std::vector<double> truth(out.size());
    oracle::AttentionDouble(tensors.problem.params, args, truth.data(),
                            nullptr);
    double largest = 0;
    const TensorView& value = tensors.value.view;
    for (int64_t i = 0; i < value.seqlen() * value.heads(); ++i) {
      for (int64_t c = 0; c < value.head_dim(); ++c) {
        const double v = oracle::ElementAt(
            oracle::ValueOf(args), 0, i / value.heads(), i % value.heads(), c);
        largest = std::max(largest, std::fabs(v));
      }
    }
    double error = 0, largest_out = 0;
    for (const double x : truth) {
      largest_out = std::max(largest_out, std::fabs(x));
    }
    for (size_t i = 0; i < out.size(); ++i) {
      error = std::max(error, std::fabs(out[i] - truth[i]));
    }
    const double bound = tensors.problem.shape.value_rotated
                             ? 3 * kPublishedBound
                             : kPublishedBound;
    EXPECT_LT(error, bound * largest +
                         OutputUnit(tensors.out.view.dtype) * largest_out)
        << text;
    EXPECT_GT(error, 0.0) << text << ": was anything compared?";
  }
}

// One channel of query and key, such that every score in log2 units is `score`.
eval::Tensors EqualScores(const std::string& text, float score) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
  const TensorView& key = tensors.key.view;
  *tensors.query.At(0, 0, 0) = 1.0f;
  for (int64_t s = 0; s < key.seqlen(); ++s) {
    *tensors.key.At(0, s, 0) = score / 1.44269504f;
  }
  return tensors;
}

// Weights reach sqrt(2), and sums are divided at the end.
TEST_P(PublishedBound, SumsOfValuesStayInRange) {
  const struct {
    const char* text;
    float score, value;
    bool finite;
  } cases[] = {
      {"h1_d1_q1_k2000_scale1", 0.0f, 1e36f, false},
      {"h1_d1_q1_k2000_scale1", 0.499f, 1.2e35f, true},
      {"h1_d1_q1_k2000_scale1", 0.499f, 1.25e35f, false},
      {"h1_d1_q1_k9000_scale1", 0.499f, -2.66e34f, true},
  };
  for (const auto& c : cases) {
    const eval::Tensors tensors = EqualScores(c.text, c.score);
    for (int64_t s = 0; s < tensors.value.view.seqlen(); ++s) {
      *tensors.value.At(0, s, 0) = c.value;
    }
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args())
            .ok());
    const float out = *tensors.out.At(0, 0, 0);
    if (c.finite) {
      EXPECT_NEAR(out / c.value, 1.0f, 1e-3f) << c.text << " " << c.value;
    } else {
      EXPECT_TRUE(std::isinf(out)) << c.text << " " << c.value << ": " << out;
    }
  }
}

// A row that sees one key: (v * w) / w, rounded twice.
TEST_P(PublishedBound, OneKeyGivesNearlyItsValue) {
  for (const float score : {0.0f, 3.0f, 0.3f, 0.499f}) {
    const eval::Tensors tensors =
        EqualScores("h1_d1_dv512_q1_k1_scale1", score);
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args())
            .ok());
    int different = 0;
    for (int64_t c = 0; c < 512; ++c) {
      const double out = *tensors.out.At(0, 0, 0, c);
      const double value = *tensors.value.At(0, 0, 0, c);
      EXPECT_LE(std::fabs(out - value), 0x1.00001p-23 * std::fabs(value));
      different += out != value;
    }
    if (score == 0.0f) {
      EXPECT_EQ(different, 0);
    }
    if (score == 0.3f) {
      EXPECT_GT(different, 0);
    }
  }
}

HEED_ON_EVERY_TARGET(PublishedBound);

}  // namespace
}  // namespace heed::test
