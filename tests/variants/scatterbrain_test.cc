// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scatterbrain: which keys are near, by position and by hash, and that features
// stand for the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "heed/estimators.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/coarse_run.h"

namespace heed::test {
namespace {

// Features estimate the far weights: the more, the nearer.
TEST(Scatterbrain, NearsExactAttention) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d8_q300_causal_scale0.1"), {});
  const std::vector<double> want = ExactOut(t);
  for (const double support : {0.0, 1.0}) {
    const auto error = [&](double features) {
      return LargestError(OutOf("scatterbrain", t, {32, features, 1, support}),
                          want);
    };
    EXPECT_LT(error(1024), 0.08) << "support " << support;
    EXPECT_LT(error(1024), 0.5 * error(16)) << "support " << support;
  }
}

// Queries and keys whose largest features are so far apart that no product of
// them is a float: where nothing is near, and where something is.
TEST(Scatterbrain, ServesRowsWithoutAProduct) {
  for (const char* problem :
       {"b1_h2_kv1_d32_q300_k64", "b1_h2_kv1_d32_q150_causal",
        "b1_h1_d32_q90_k120_causal_scale-0.2"}) {
    SCOPED_TRACE(problem);
    const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
    for (const eval::Tensor* x : {&t.query, &t.key}) {
      for (int64_t s = 0; s < x->view.seqlen(); ++s) {
        for (int64_t h = 0; h < x->view.heads(); ++h) {
          for (int64_t c = 0; c < 32; ++c) *x->At(0, s, h, c) *= 30;
        }
      }
    }
    for (const double support : {0.0, 1.0}) {
      EXPECT_LT(
          ErrorOfReference("scatterbrain", t, {16, 64, 1, support}, nullptr),
          5e-3);
    }
  }
}

// Which keys are near, by hand: queries are 0 and keys so long that features
// give them no weight, where softmax gives all the same.
TEST(Scatterbrain, IsNearByHand) {
  const auto near = [](const std::string& problem, double local_context,
                       int64_t row) {
    const eval::Tensors t =
        eval::MakeTensors(ProblemOf("b1_h1_d4_dv10_" + problem), {});
    for (int64_t s = 0; s < t.query.view.seqlen(); ++s) {
      std::fill(t.query.At(0, s, 0), t.query.At(0, s, 0) + 4, 0.0f);
    }
    for (int64_t s = 0; s < 10; ++s) {
      std::fill(t.key.At(0, s, 0), t.key.At(0, s, 0) + 4, 10.0f);
      for (int64_t c = 0; c < 10; ++c) {
        *t.value.At(0, s, 0, c) = c == s ? 1.0f : 0.0f;
      }
    }
    OutOf("scatterbrain", t, {local_context, 8, 1, 0});
    return Weighed(t, row);
  };
  EXPECT_EQ(near("q10_k10_causal_scale1", 4, 1), "xx........");
  EXPECT_EQ(near("q10_k10_causal_scale1", 4, 6), "...xxxx...");
  EXPECT_EQ(near("q6_k10_causal_scale1", 4, 2), "...xxxx...");
  EXPECT_EQ(near("q10_k10_scale1", 4, 5), "...xxxx...");
  EXPECT_EQ(near("q10_k10_scale1", 5, 5), "...xxxxx..");
  EXPECT_EQ(near("q10_k10_scale1", 1, 5), ".....x....");
  EXPECT_EQ(near("q10_k10_scale1", 4, 9), ".......xxx");
}

// Which keys hash as queries do, by the definition: queries are so short that
// softmax gives all keys about the same, and keys so long that features give
// them nothing.
TEST(Scatterbrain, IsAlikeByHand) {
  constexpr int64_t kRows = 70, kKeys = 90, kDim = 8, kRounds = 2, kTurns = 3;
  constexpr int64_t kSeed = 5;
  const eval::Tensors t = eval::MakeTensors(
      ProblemOf("b1_h4_kv2_d8_dv90_q70_k90_causal_scale1"), {});
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t s = 0; s < kRows; ++s) {
      for (int64_t c = 0; c < kDim; ++c) *t.query.At(0, s, h, c) *= 1e-4f;
    }
  }
  for (int64_t kv = 0; kv < 2; ++kv) {
    for (int64_t s = 0; s < kKeys; ++s) {
      for (int64_t c = 0; c < kDim; ++c) *t.key.At(0, s, kv, c) *= 100;
      for (int64_t c = 0; c < kKeys; ++c) {
        *t.value.At(0, s, kv, c) = c == s ? 1.0f : 0.0f;
      }
    }
  }
  // The end of which direction x is nearest to.
  const auto bucket_of = [&](const float* x, int64_t round) {
    double most = 0;
    int64_t bucket = 0;
    for (int64_t j = 0; j < kTurns; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < kDim; ++c) {
        double turn = -2;
        for (int64_t k = 0; k < 4; ++k) {
          turn += static_cast<double>(
              sparse::DrawOf(kSeed, round * kDim + c, j, k));
        }
        sum += static_cast<double>(x[c]) * turn;
      }
      if (std::fabs(sum) <= most) continue;
      most = std::fabs(sum);
      bucket = sum < 0 ? -1 - j : j;
    }
    return bucket;
  };
  OutOf("scatterbrain", t, {1, 8, kSeed, 1, kRounds, kTurns});
  int64_t alike = 0;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t key = 0; key < kKeys; ++key) {
        bool want = false;
        for (int64_t round = 0; round < kRounds; ++round) {
          want |= bucket_of(t.query.At(0, row, h), round) ==
                  bucket_of(t.key.At(0, key, h / 2), round);
        }
        want = want && key <= row + kKeys - kRows;
        alike += want;
        ASSERT_EQ(*t.out.At(0, row, h, key) > 1e-6f, want)
            << "head " << h << " row " << row << " key " << key;
      }
    }
  }
  EXPECT_GT(alike, 0);
}

// Where weights are far apart no sum leaves the range of floats.
TEST(Scatterbrain, ServesLongRows) {
  for (const char* problem : {"b1_h1_d8_q200_causal", "b1_h1_d8_q90_k200"}) {
    const eval::Tensors t = eval::MakeTensors(ProblemOf(problem), {});
    for (int64_t s = 0; s < 200; ++s) {
      for (int64_t c = 0; c < 8; ++c) *t.key.At(0, s, 0, c) *= 12;
    }
    for (const double support : {0.0, 1.0}) {
      for (const float x : OutOf("scatterbrain", t, {16, 32, 1, support})) {
        ASSERT_TRUE(std::isfinite(x));
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
