// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the numbers are: spread, dominant, growing, equal, tiny, huge, and not
// numbers at all.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
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

using eval::Fill;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

class AttentionValues : public OnEveryTarget {};

TEST_P(AttentionValues, Fills) {
  for (const Fill fill : {Fill::kNormal, Fill::kInteger, Fill::kSpread,
                          Fill::kOneHot, Fill::kGrowing, Fill::kEqual}) {
    eval::WorkloadOptions options;
    options.fill = fill;
    SCOPED_TRACE("fill " + std::to_string(static_cast<int>(fill)));
    for (const char* problem :
         {"h2_kv1_d16_q40_k200", "h2_d64_q20_k300_causal",
          "h1_d8_q9_k500_causal_wl100_sink4", "h1_d8_q9_k100_cap20"}) {
      CheckProblem(GetParam(), problem, options);
    }
    CheckProblem(GetParam(), Quick() ? "h1_d2_q3_k4200" : "h1_d8_q9_k9000",
                 options);
  }
}

// Sets every element of one row.
void SetRow(const eval::Tensor& tensor, int64_t b, int64_t s, int64_t h,
            float value) {
  for (int64_t c = 0; c < tensor.view.head_dim(); ++c) {
    *tensor.At(b, s, h, c) = value;
  }
}

bool RowIsNan(const eval::Tensor& tensor, int64_t s, int64_t h) {
  for (int64_t c = 0; c < tensor.view.head_dim(); ++c) {
    if (!std::isnan(*tensor.At(0, s, h, c))) return false;
  }
  return true;
}

// Poison in keys and values that no row of a cut block sees changes no bit, and
// one that some rows see makes those NaN and no other.
TEST_P(AttentionValues, PoisonReachesOnlyRowsThatSeeIt) {
  const float poisons[] = {kNan, kInf, -kInf};
  for (const char* text :
       {"h2_kv1_d16_q40_k150_causal", "h2_kv1_d16_q40_k150_causal_wl20_sink2",
        "h2_kv1_d16_q40_k150_wl3_wr3", "h2_kv1_d16_q40_k150_causal_cap5",
        "h2_kv1_d16_q40_k150_causal_off0"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors clean = eval::MakeTensors(problem, {});
    const RunConfig config{GetParam()};
    ASSERT_TRUE(RunOn(config, problem.params, clean.Args()).ok());
    // Key 120 is seen by some rows of a lane group and not by others.
    const std::vector<int64_t> keys =
        Quick() ? std::vector<int64_t>{120}
                : std::vector<int64_t>{0, 63, 64, 120, 127, 128, 149};
    for (const int64_t key : keys) {
      for (int which = 0; which < 2; ++which) {
        for (const float poison : poisons) {
          SCOPED_TRACE(std::string(text) + ", key " + std::to_string(key) +
                       (which == 0 ? ", in key" : ", in value") + ", poison " +
                       std::to_string(poison));
          eval::Tensors poisoned = eval::MakeTensors(problem, {});
          SetRow(which == 0 ? poisoned.key : poisoned.value, 0, key, 0, poison);
          // Also what the specification says of infinities in visible rows.
          Checker(GetParam(), problem.params, poisoned).Check();
          ASSERT_TRUE(RunOn(config, problem.params, poisoned.Args()).ok());
          for (int64_t row = 0; row < 40; ++row) {
            if (oracle::Visible(problem.params, clean.Args(), 0, 0, row, key)) {
              if (std::isnan(poison)) {
                EXPECT_TRUE(RowIsNan(poisoned.out, row, 0)) << row;
              }
              continue;
            }
            for (int64_t c = 0; c < 16; ++c) {
              ASSERT_EQ(*poisoned.out.At(0, row, 1, c),
                        *clean.out.At(0, row, 1, c))
                  << "row " << row << " does not see the key";
            }
          }
        }
      }
    }
  }
}

// One poisoned element, wherever in its row: widths that no vector divides have
// tails of their own.
TEST_P(AttentionValues, PoisonInOneElement) {
  for (const int width : {1, 5, 19, 37}) {
    const io::Problem problem =
        ProblemOf("h2_kv1_d8_dv" + std::to_string(width) + "_q40_k150_causal");
    for (int64_t c = 0; c < width; ++c) {
      const eval::Tensors tensors = eval::MakeTensors(problem, {});
      *tensors.value.At(0, 120, 0, c) = c % 2 == 0 ? kInf : kNan;
      SCOPED_TRACE("element " + std::to_string(c) + " of " +
                   std::to_string(width));
      Checker(GetParam(), problem.params, tensors).Check();
    }
  }
}

// The same in the few rows of the decode kernel, of which the later ones see
// it.
TEST_P(AttentionValues, PoisonInOneElementOfFewRows) {
  for (const int width : {1, 5, 19, 37}) {
    const io::Problem problem =
        ProblemOf("h2_kv1_d8_dv" + std::to_string(width) + "_q9_k150_causal");
    for (int64_t c = 0; c < width; c += Quick() ? 4 : 1) {
      const eval::Tensors tensors = eval::MakeTensors(problem, {});
      *tensors.value.At(0, 145, 0, c) = c % 2 == 0 ? kInf : kNan;
      SCOPED_TRACE("element " + std::to_string(c) + " of " +
                   std::to_string(width));
      Checker(GetParam(), problem.params, tensors)
          .Check(RunConfig{GetParam(), 0, 1, /*decode_rows=*/64});
    }
  }
}

// Many poisoned positions at once, all of them hidden from all rows.
TEST_P(AttentionValues, PoisonOutsideAllWindowsIsInert) {
  for (const char* text :
       {"h2_kv1_d16_q10_k300_causal_off100", "h2_d8_q30_k200_causal_wl5",
        "h1_d8_q4_k4300_causal_off4150_wl3_sink2"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors clean = eval::MakeTensors(problem, {});
    const eval::Tensors poisoned = eval::MakeTensors(problem, {});
    int hidden = 0;
    for (int64_t key = 0; key < problem.shape.seqlen_k; ++key) {
      bool seen = false;
      for (int64_t row = 0; row < problem.shape.seqlen_q; ++row) {
        seen |= oracle::Visible(problem.params, clean.Args(), 0, 0, row, key);
      }
      if (seen) continue;
      ++hidden;
      for (int64_t h = 0; h < problem.shape.num_kv_heads; ++h) {
        SetRow(poisoned.key, 0, key, h, key % 2 == 0 ? kNan : kInf);
        SetRow(poisoned.value, 0, key, h, key % 3 == 0 ? kNan : -kInf);
      }
    }
    ASSERT_GT(hidden, 0) << text;
    const Checker checker(GetParam(), problem.params, clean);
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam()}, problem.params, poisoned.Args()).ok());
    EXPECT_TRUE(checker.Matches(poisoned.out, poisoned.lse)) << text;
  }
}

TEST_P(AttentionValues, NanInAQueryStaysInItsRow) {
  const io::Problem problem = ProblemOf("h3_kv1_d16_q50_k100_causal");
  const eval::Tensors clean = eval::MakeTensors(problem, {});
  const RunConfig config{GetParam()};
  ASSERT_TRUE(RunOn(config, problem.params, clean.Args()).ok());
  // Rows at the start of a lane group, within one, and the last, which padding
  // repeats.
  for (const int64_t row : {0, 4, 12, 24, 48, 52, 64, 96, 144, 149}) {
    const int64_t at = row / 3, head = row % 3;
    SCOPED_TRACE("row " + std::to_string(row));
    const eval::Tensors poisoned = eval::MakeTensors(problem, {});
    *poisoned.query.At(0, at, head, 5) = kNan;
    Checker(GetParam(), problem.params, poisoned).Check();
    ASSERT_TRUE(RunOn(config, problem.params, poisoned.Args()).ok());
    for (int64_t s = 0; s < 50; ++s) {
      for (int64_t h = 0; h < 3; ++h) {
        if (s == at && h == head) {
          EXPECT_TRUE(RowIsNan(poisoned.out, s, h));
          EXPECT_TRUE(RowIsNan(poisoned.lse, s, h));
          continue;
        }
        EXPECT_EQ(*poisoned.out.At(0, s, h, 3), *clean.out.At(0, s, h, 3));
        EXPECT_EQ(*poisoned.lse.At(0, s, h), *clean.lse.At(0, s, h));
      }
    }
  }
}

// A first block that leaves no maximum is still a first block: what a value of
// Inf made of the sums stays.
TEST_P(AttentionValues, AHiddenFirstBlockIsNotForgotten) {
  eval::Tensors tensors = eval::MakeTensors(ProblemOf("h2_d16_q40_k130"), {});
  for (int64_t k = 0; k < 64; ++k) {
    SetRow(tensors.key, 0, k, 0, 0.0f);
    *tensors.key.At(0, k, 0, 0) = -kInf;
  }
  for (int64_t s = 0; s < 40; ++s) *tensors.query.At(0, s, 0, 0) = 1.0f;
  *tensors.value.At(0, 9, 0, 3) = kInf;
  Checker(GetParam(), tensors.problem.params, tensors).Check();
  ASSERT_TRUE(
      RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args())
          .ok());
  EXPECT_TRUE(std::isnan(*tensors.out.At(0, 7, 0, 3)));
  EXPECT_FALSE(std::isnan(*tensors.out.At(0, 7, 0, 4)));
}

// Two channels: the key's first makes the score what the test wants.
eval::Tensors TwoChannels(int64_t seqlen_k) {
  io::Problem problem = ProblemOf("h1_d2_q3_k1_scale1");
  problem.shape.seqlen_k = seqlen_k;
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  for (int64_t s = 0; s < 3; ++s) SetRow(tensors.query, 0, s, 0, 1.0f);
  return tensors;
}

TEST_P(AttentionValues, AScoreOfPlusInfinityMakesTheRowNan) {
  for (const int64_t at : {0, 5, 69, 4099}) {
    const eval::Tensors tensors = TwoChannels(4100);
    *tensors.key.At(0, at, 0, 0) = kInf;
    const AttentionParams& params = tensors.problem.params;
    Checker(GetParam(), params, tensors).Check();
    ASSERT_TRUE(RunOn(RunConfig{GetParam()}, params, tensors.Args()).ok());
    EXPECT_TRUE(RowIsNan(tensors.out, 1, 0)) << at;
    EXPECT_TRUE(RowIsNan(tensors.lse, 1, 0)) << at;
  }
}

TEST_P(AttentionValues, ScoresOfMinusInfinityAreHidden) {
  const eval::Tensors some = TwoChannels(100);
  for (const int64_t at : {0, 5, 64, 99}) *some.key.At(0, at, 0, 0) = -kInf;
  Checker(GetParam(), some.problem.params, some).Check();

  const eval::Tensors all = TwoChannels(100);
  for (int64_t at = 0; at < 100; ++at) *all.key.At(0, at, 0, 0) = -kInf;
  const AttentionParams& params = all.problem.params;
  Checker(GetParam(), params, all).Check();
  ASSERT_TRUE(RunOn(RunConfig{GetParam()}, params, all.Args()).ok());
  EXPECT_EQ(*all.out.At(0, 1, 0, 0), 0.0f);
  EXPECT_EQ(*all.lse.At(0, 1, 0), -kInf);
}

TEST_P(AttentionValues, HugeFiniteScores) {
  for (const float huge : {1e30f, -1e30f, 2e38f, -2e38f}) {
    const eval::Tensors tensors = TwoChannels(130);
    *tensors.key.At(0, 70, 0, 0) = huge;
    const AttentionParams& params = tensors.problem.params;
    Checker(GetParam(), params, tensors).Check();
    ASSERT_TRUE(RunOn(RunConfig{GetParam()}, params, tensors.Args()).ok());
    EXPECT_TRUE(std::isfinite(*tensors.out.At(0, 1, 0, 0))) << huge;
    if (huge > 0) {
      EXPECT_EQ(*tensors.out.At(0, 1, 0, 0), *tensors.value.At(0, 70, 0, 0));
    }
  }
}

TEST_P(AttentionValues, Denormals) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_kv1_d16_q30_k100"), {});
  for (const eval::Tensor* tensor :
       {&tensors.query, &tensors.key, &tensors.value}) {
    for (int64_t s = 0; s < tensor->view.seqlen(); ++s) {
      for (int64_t c = 0; c < 16; ++c) *tensor->At(0, s, 0, c) *= 1e-39f;
    }
  }
  Checker(GetParam(), {}, tensors).Check();
  Checker(GetParam(), {}, tensors).Check(RunConfig{GetParam(), 0, 3});
}

TEST_P(AttentionValues, MinusZeroComesOutAsZero) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h1_d16_q30_k100"), {});
  for (int64_t s = 0; s < 100; ++s) SetRow(tensors.value, 0, s, 0, -0.0f);
  Checker(GetParam(), {}, tensors).Check();
  ASSERT_TRUE(RunOn(RunConfig{GetParam()}, {}, tensors.Args()).ok());
  for (const float value : tensors.out.Dense()) {
    EXPECT_EQ(value, 0.0f);
    EXPECT_FALSE(std::signbit(value));
  }
}

HEED_ON_EVERY_TARGET(AttentionValues);

}  // namespace
}  // namespace heed::test
