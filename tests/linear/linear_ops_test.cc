// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Norms and gates of rows against double, and the same bits on every table.
#include "heed/linear_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lib/core/ops_target.h"
#include "tests/linear/scan_case.h"
#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

using Rows = std::vector<float>;

class LinearOps : public LinearVariantOnTarget {};
HEED_ON_EVERY_TARGET(LinearOps);

Rows Drawn(int64_t n, int which) {
  constexpr Input kRange = {"", "", false, -4.0, 4.0};
  Rows x;
  for (int64_t i = 0; i < n; ++i) {
    x.push_back(static_cast<float>(DrawnAt(kRange, which, i, 0, 0, 0)));
  }
  return x;
}

double SigmoidOf(double x) { return 1 / (1 + std::exp(-x)); }

// Lengths around the pieces that rows are worked on in.
constexpr int64_t kLengths[] = {0, 1, 7, 64, 256, 300};

TEST_P(LinearOps, SigmoidAndSiluAreNearDouble) {
  for (const int64_t n : kLengths) {
    const Rows x = Drawn(n, 1);
    Rows sigmoid(x.size()), silu = x;
    ops::Sigmoid(x.data(), sigmoid.data(), n);
    ops::Silu(silu.data(), silu.data(), n);  // in place
    for (size_t i = 0; i < x.size(); ++i) {
      const double at = static_cast<double>(x[i]);
      EXPECT_NEAR(sigmoid[i], SigmoidOf(at), 5e-7 * SigmoidOf(at));
      EXPECT_NEAR(silu[i], at * SigmoidOf(at),
                  5e-7 * std::fabs(at * SigmoidOf(at)));
    }
  }
}

TEST_P(LinearOps, SigmoidAndSiluHaveEnds) {
  const float inf = std::numeric_limits<float>::infinity();
  const Rows x = {-inf, -200, -100, 0, 100, inf, NAN};
  Rows sigmoid(7), silu(7);
  ops::Sigmoid(x.data(), sigmoid.data(), 7);
  ops::Silu(x.data(), silu.data(), 7);
  EXPECT_TRUE(SameNumbers(sigmoid, {0, 0, 0, 0.5f, 1, 1, NAN}));
  EXPECT_TRUE(SameNumbers(silu, {0, 0, 0, 0, 100, inf, NAN}));
}

TEST_P(LinearOps, L2NormHasUnitLength) {
  for (const int64_t n : kLengths) {
    Rows x = Drawn(n, 2), y(x.size());
    ops::L2Norm(x.data(), 1e-6f, y.data(), n);
    double square = 1e-6;
    for (const float v : x) {
      square += static_cast<double>(v) * static_cast<double>(v);
    }
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], static_cast<double>(x[i]) / std::sqrt(square), 5e-7);
    }
  }
  Rows zeros(5);
  ops::L2Norm(zeros.data(), 1e-6f, zeros.data(), 5);
  EXPECT_EQ(zeros, Rows(5));
}

std::vector<double> GatedTruth(const ops::RmsNormGate& how, const Rows& x,
                               const Rows& gate, const Rows& weight) {
  std::vector<double> y(x.begin(), x.end()), factor(x.size(), 1);
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = static_cast<double>(gate[i]);
    const bool silu = how.activation == ops::RmsNormGate::Activation::kSilu;
    factor[i] = (silu ? g : 1) * SigmoidOf(g);
  }
  double mean = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (how.before_norm) y[i] *= factor[i];
    mean += y[i] * y[i] / static_cast<double>(y.size());
  }
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] /= std::sqrt(mean + static_cast<double>(how.eps));
    if (!weight.empty()) y[i] *= static_cast<double>(weight[i]);
    if (!how.before_norm) y[i] *= factor[i];
  }
  return y;
}

const float* DataOrNull(const Rows& x) {
  return x.empty() ? nullptr : x.data();
}

// Every choice; the second in the place of x, the third in that of the gate.
std::vector<Rows> GatedRows(int64_t n) {
  std::vector<Rows> all;
  for (int choice = 0; choice < 16; ++choice) {
    ops::RmsNormGate how;
    how.before_norm = choice % 2 != 0;
    if (choice / 2 % 2 != 0) {
      how.activation = ops::RmsNormGate::Activation::kSigmoid;
    }
    const Rows x = Drawn(n, 3);
    const Rows gate = choice / 4 % 2 != 0 ? Rows() : Drawn(n, 4);
    const Rows weight = choice / 8 != 0 ? Rows() : Drawn(n, 5);
    Rows y(x.size()), on_x = x, on_gate = gate;
    ops::GatedRmsNorm(how, x.data(), DataOrNull(gate), DataOrNull(weight),
                      y.data(), n);
    ops::GatedRmsNorm(how, on_x.data(), DataOrNull(gate), DataOrNull(weight),
                      on_x.data(), n);
    EXPECT_EQ(on_x, y) << choice;
    if (!gate.empty()) {
      ops::GatedRmsNorm(how, x.data(), on_gate.data(), DataOrNull(weight),
                        on_gate.data(), n);
      EXPECT_EQ(on_gate, y) << choice;
    }
    EXPECT_LT(ErrorOf(y, GatedTruth(how, x, gate, weight)), 1e-6) << choice;
    all.push_back(y);
  }
  return all;
}

TEST_P(LinearOps, GatedRmsNormIsNearDouble) {
  for (const int64_t n : kLengths) GatedRows(n);
}

TEST(LinearOpsBits, AreTheSameOnEveryTable) {
  const auto all = [] {
    std::vector<Rows> results = GatedRows(300);
    const Rows x = Drawn(300, 6);
    for (int i = 0; i < 3; ++i) results.emplace_back(x.size());
    ops::Sigmoid(x.data(), results[16].data(), 300);
    ops::Silu(x.data(), results[17].data(), 300);
    ops::L2Norm(x.data(), 1e-6f, results[18].data(), 300);
    return results;
  };
  std::vector<Rows> first;
  for (const std::string& target : SameBitsTargets()) {
    ASSERT_TRUE(internal::SetOpsTarget(target.c_str()));
    const std::vector<Rows> got = all();
    if (first.empty()) first = got;
    EXPECT_EQ(got, first) << target;
  }
  internal::SetOpsTarget(nullptr);
}

}  // namespace
}  // namespace heed::test
