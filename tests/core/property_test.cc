// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What any attention must be, whatever its bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class Property : public OnEveryTarget {
 protected:
  void Run(const eval::Tensors& tensors) {
    tensors.ClearOutput();
    const Status status =
        RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args());
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
};

// With all values equal, weights that sum to one give that value.
TEST_P(Property, WeightsSumToOne) {
  for (const char* text :
       {"h2_kv1_d16_q40_k200", "h2_d64_q20_k100_causal", "h1_d8_q5_k4200",
        "h2_d16_q40_k100_causal_wl9_sink2", "h1_d16_q9_k70_cap3"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const TensorView& v = tensors.value.view;
    for (int64_t s = 0; s < v.seqlen(); ++s) {
      for (int64_t h = 0; h < v.heads(); ++h) {
        for (int64_t c = 0; c < v.head_dim(); ++c) {
          *tensors.value.At(0, s, h, c) = 1.0f;
        }
      }
    }
    Run(tensors);
    for (const float x : tensors.out.Dense()) {
      // The sums of weights and of weighted ones take the same steps.
      EXPECT_NEAR(x, 1.0f, HasSameBits(GetParam()) ? 0.0f : 1e-6f) << text;
    }
  }
}

TEST_P(Property, OneVisibleKeyIsCopied) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d24_q30_wl0_wr0"), {});
  Run(tensors);
  for (int64_t s = 0; s < 30; ++s) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t c = 0; c < 24; ++c) {
        const float want = *tensors.value.At(0, s, h, c);
        EXPECT_NEAR(*tensors.out.At(0, s, h, c), want, std::fabs(want) * 2e-7f);
      }
    }
  }
}

TEST_P(Property, EqualScoresGiveTheMean) {
  eval::WorkloadOptions options;
  options.fill = eval::Fill::kEqual;
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_kv1_d16_q9_k150"), options);
  Run(tensors);
  for (int64_t c = 0; c < 16; ++c) {
    double mean = 0;
    for (int64_t s = 0; s < 150; ++s) mean += *tensors.value.At(0, s, 0, c);
    mean /= 150;
    for (int64_t row = 0; row < 9; ++row) {
      EXPECT_NEAR(*tensors.out.At(0, row, 1, c), mean, 1e-6);
    }
  }
}

TEST_P(Property, OrderOfKeysDoesNotMatter) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_kv1_d32_q20_k200"), {});
  Run(tensors);
  const std::vector<float> want = tensors.out.Dense();
  // Reverses keys and values together.
  for (int64_t s = 0; s < 100; ++s) {
    for (int64_t c = 0; c < 32; ++c) {
      std::swap(*tensors.key.At(0, s, 0, c), *tensors.key.At(0, 199 - s, 0, c));
      std::swap(*tensors.value.At(0, s, 0, c),
                *tensors.value.At(0, 199 - s, 0, c));
    }
  }
  Run(tensors);
  const std::vector<float> got = tensors.out.Dense();
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 2e-6) << i;
  }
}

// Grouped queries are repeated key heads, to the bit.
TEST_P(Property, GroupsAreRepeatedHeads) {
  for (const char* text : {"b2_h6_kv2_d16_q40_k70_causal", "h8_kv1_d24_q9_k90",
                           "h7_kv1_d8_q3_k4100_causal"}) {
    const eval::Tensors grouped = eval::MakeTensors(ProblemOf(text), {});
    const int64_t heads = grouped.problem.shape.num_heads;
    const int64_t group = heads / grouped.problem.shape.num_kv_heads;
    eval::Tensors repeated = grouped;
    repeated.problem.shape.num_kv_heads = heads;
    const auto repeat = [&](const eval::Tensor& from) {
      const TensorView& v = from.view;
      const eval::Tensor to = eval::MakeTensor(
          v.batch(), v.seqlen(), heads, v.head_dim(), eval::Layout::kBhsd);
      for (int64_t b = 0; b < v.batch(); ++b) {
        for (int64_t s = 0; s < v.seqlen(); ++s) {
          for (int64_t h = 0; h < heads; ++h) {
            std::copy_n(from.At(b, s, h / group), v.head_dim(), to.At(b, s, h));
          }
        }
      }
      return to;
    };
    repeated.key = repeat(grouped.key);
    repeated.value = repeat(grouped.value);
    repeated.out = eval::MakeTensor(
        grouped.out.view.batch(), grouped.out.view.seqlen(), heads,
        grouped.out.view.head_dim(), eval::Layout::kBshd);
    repeated.lse =
        eval::MakeTensor(grouped.out.view.batch(), grouped.out.view.seqlen(),
                         heads, 1, eval::Layout::kBshd);
    Run(grouped);
    Run(repeated);
    EXPECT_TRUE(SameBits(repeated.out, grouped.out)) << text;
    EXPECT_TRUE(SameBits(repeated.lse, grouped.lse)) << text;
  }
}

// A constant added to every score of a row changes lse by it and out not at all
// (to rounding): the softmax is blind to it.
TEST_P(Property, AddingAConstantToScoresShiftsLse) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h1_d16_q10_k100_scale1"), {});
  // One channel holds the constant: q = 1, k = 3.
  for (int64_t s = 0; s < 10; ++s) *tensors.query.At(0, s, 0, 0) = 1.0f;
  for (int64_t s = 0; s < 100; ++s) *tensors.key.At(0, s, 0, 0) = 0.0f;
  Run(tensors);
  const std::vector<float> out = tensors.out.Dense();
  const std::vector<float> lse = tensors.lse.Dense();
  for (int64_t s = 0; s < 100; ++s) *tensors.key.At(0, s, 0, 0) = 3.0f;
  Run(tensors);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_NEAR(tensors.out.Dense()[i], out[i], 5e-6);
  }
  for (size_t i = 0; i < lse.size(); ++i) {
    EXPECT_NEAR(tensors.lse.Dense()[i], lse[i] + 3.0f, 5e-6);
  }
}

// Sizes that the page which defines the bits is too slow for: against the fast
// double oracle.
TEST_P(Property, LargeProblemsAreNearDouble) {
  for (const char* text :
       Quick() ? std::vector<const char*>{"h1_d64_q40_k500_causal"}
               : std::vector<const char*>{"h2_kv1_d128_q1000_causal",
                                          "h1_d64_q300_k9000_causal_wl5000"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    Run(tensors);
    const std::vector<float> out = tensors.out.Dense();
    const std::vector<float> lse = tensors.lse.Dense();
    std::vector<double> want_out(out.size()), want_lse(lse.size());
    oracle::AttentionFast(tensors.problem.params, tensors.Args(),
                          want_out.data(), want_lse.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(out[i], want_out[i], 1e-5) << text << ", element " << i;
    }
    for (size_t i = 0; i < lse.size(); ++i) {
      ASSERT_NEAR(lse[i], want_lse[i], 2e-5) << text << ", row " << i;
    }
  }
}

HEED_ON_EVERY_TARGET(Property);

}  // namespace
}  // namespace heed::test
