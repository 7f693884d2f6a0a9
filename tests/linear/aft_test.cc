// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The attention free transformer: numbers by hand, what its forms must equal of
// one another, and exponents that no float holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "lib/core/ops_target.h"
#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_q50_causal";
constexpr double kRounding = 5e-6;

class Aft : public LinearVariantOnTarget {};
HEED_ON_EVERY_TARGET(Aft);

double Zero(int64_t /*token*/, int64_t /*channel*/) { return 0; }
double OfPlace(int64_t token, int64_t channel) {
  return 0.1 * static_cast<double>((3 * token + 5 * channel) % 11) - 0.5;
}
double OfDistance(int64_t token, int64_t /*channel*/) {
  return 0.3 * static_cast<double>(token % 7) - 1;
}

void Fill(const eval::Tensor& x, const std::function<float(int64_t)>& f) {
  for (int64_t b = 0; b < x.view.batch(); ++b) {
    for (int64_t t = 0; t < x.view.seqlen(); ++t) {
      for (int64_t h = 0; h < x.view.heads(); ++h) {
        for (int64_t c = 0; c < x.view.head_dim(); ++c) {
          *x.At(b, t, h, c) = f(t);
        }
      }
    }
  }
}

// Weights 1, 2 and 4 of values 1, 4 and 10; a query of 0 halves.
TEST_P(Aft, IsTheseNumbers) {
  for (const bool causal : {true, false}) {
    VariantCall call("aft", causal ? "b1_h1_d1_q3_causal" : "b1_h1_d1_q3",
                     GetParam());
    const float keys[] = {0, std::log(2.0f), std::log(4.0f)};
    const float values[] = {1, 4, 10};
    Fill(call.tensors().query, [](int64_t) { return 0.0f; });
    Fill(call.tensors().key, [&](int64_t t) { return keys[t]; });
    Fill(call.tensors().value, [&](int64_t t) { return values[t]; });
    const auto expect = [&](double window, const std::vector<double>& want) {
      SCOPED_TRACE(std::to_string(causal) + " " + std::to_string(window));
      call.SetKnob("window", window);
      EXPECT_LT(ErrorOf(call.Out(), want), 1e-6);
    };
    // Without biases.
    const double all = 49.0 / 7 / 2;
    expect(0, causal ? std::vector<double>{0.5, 9.0 / 3 / 2, all}
                     : std::vector<double>{all, all, all});
    // Its own token counts three times, its neighbours once or half.
    call.SetInput("query_bias", Zero);
    call.SetInput("distance_bias", [](int64_t t, int64_t) {
      return t == 0 ? std::log(3.0) : t == 1 ? std::log(0.5) : 0.0;
    });
    if (causal) {
      expect(1, {0.5, (1 + 24.0) / 7 / 2, (1 + 8 + 120.0) / 15 / 2});
      expect(2, {0.5, (0.5 + 24) / 6.5 / 2, (1 + 4 + 120.0) / 14 / 2});
    } else {
      expect(1, {(3 + 8 + 40.0) / 9 / 2, (1 + 24 + 40.0) / 11 / 2,
                 (1 + 8 + 120.0) / 15 / 2});
      expect(2, {(3 + 4 + 40.0) / 8 / 2, (0.5 + 24 + 20) / 8.5 / 2,
                 (1 + 4 + 120.0) / 14 / 2});
    }
    // The same of the places: row 1 has a bias for key 0 alone.
    call.SetInput("distance_bias", Zero);
    call.SetInput("query_bias",
                  [](int64_t t, int64_t) { return t == 1 ? 2.0 : 0.0; });
    call.SetInput("key_bias", [](int64_t t, int64_t) {
      return t == 0 ? std::log(3.0) / 2 : 0.0;
    });
    expect(3, {causal ? 0.5 : all,
               causal ? (3 + 8.0) / 5 / 2 : (3 + 8 + 40.0) / 9 / 2, all});
  }
}

TEST_P(Aft, WithoutBiasIsAftSimple) {
  for (const char* problem : {kProblem, "b1_h2_kv1_d16_q150_k170"}) {
    SCOPED_TRACE(problem);
    VariantCall simple("aft", problem, GetParam());
    VariantCall full("aft", problem, GetParam());
    simple.SetKnob("window", 0);
    full.SetKnob("window", 1000);
    const std::vector<double> want = Doubles(simple.Out());
    EXPECT_GT(ErrorOf(full.Out(), want), 0.01);
    full.SetInput("query_bias", Zero);
    full.SetInput("distance_bias", Zero);
    EXPECT_LT(ErrorOf(full.Out(), want), kRounding);
  }
}

// Beyond a window that holds all there is nothing more.
TEST_P(Aft, AWindowOfAllIsAftFull) {
  VariantCall all("aft", kProblem, GetParam());
  VariantCall more("aft", kProblem, GetParam());
  all.SetKnob("window", 50);
  more.SetKnob("window", 1 << 20);
  EXPECT_EQ(all.Out(), more.Out());
  all.SetKnob("window", 49);  // all but the first key for the last row
  const std::vector<float> less = all.Out(), full = more.Out();
  EXPECT_NE(less, full);
  EXPECT_LT(ErrorOf(less, all.Reference()), kRounding);
}

TEST_P(Aft, MeansOfEqualValuesAreGatedByTheQuery) {
  for (const char* problem : {kProblem, "b1_h2_d16_q90_k140"}) {
    VariantCall call("aft", problem, GetParam());
    Fill(call.tensors().value, [](int64_t) { return -3.0f; });
    const std::vector<float> q = call.tensors().query.Dense();
    std::vector<double> want;
    for (const float x : q) {
      want.push_back(-3 / (1 + std::exp(-static_cast<double>(x))));
    }
    EXPECT_LT(ErrorOf(call.Out(), want), 2e-6);
  }
}

// Read from its end a text has its rows in the other order: what stands before
// a window and what stands behind it are alike.
TEST_P(Aft, ATextBackwardsIsItsRowsBackwards) {
  constexpr int64_t kTokens = 230;
  VariantCall there("aft", "b1_h2_d8_q230", GetParam());
  VariantCall back("aft", "b1_h2_d8_q230", GetParam());
  for (const auto member :
       {&eval::Tensors::query, &eval::Tensors::key, &eval::Tensors::value}) {
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t h = 0; h < 2; ++h) {
        const float* from = (there.tensors().*member).At(0, t, h, 0);
        std::copy(from, from + 8,
                  (back.tensors().*member).At(0, kTokens - 1 - t, h, 0));
      }
    }
  }
  for (const char* input : {"query_bias", "key_bias"}) {
    there.SetInput(input, OfPlace);
    back.SetInput(input, [](int64_t t, int64_t c) {
      return OfPlace(kTokens - 1 - t, c);
    });
  }
  for (VariantCall* call : {&there, &back}) {
    call->SetInput("distance_bias", OfDistance);
    call->SetKnob("window", 20);
  }
  const std::vector<float> rows = there.Out(), turned = back.Out();
  std::vector<double> want;
  for (size_t t = kTokens; t-- > 0;) {
    const auto at = turned.begin() + static_cast<long>(16 * t);
    want.insert(want.end(), at, at + 16);
  }
  EXPECT_LT(ErrorOf(rows, want), kRounding);
}

// The last row sees the same with a mask and without.
TEST_P(Aft, TheLastRowNeedsNoMask) {
  VariantCall causal("aft", "b1_h1_d16_q100_causal", GetParam());
  VariantCall whole("aft", "b1_h1_d16_q100", GetParam());
  std::vector<float> a = causal.Out(), b = whole.Out();
  a.erase(a.begin(), a.end() - 16);
  b.erase(b.begin(), b.end() - 16);
  EXPECT_LT(ErrorOf(a, Doubles(b)), kRounding);
}

// Keys of hundreds either way, biases of thousands: rows before a giant keep
// what they have, and rows behind it have the giant. (A sum of thousands has
// four digits behind its point.)
TEST_P(Aft, ExponentsMayBeAnyNumber) {
  for (const char* problem : {kProblem, "b1_h2_d16_q150"}) {
    for (const double bias : {0.0, 3000.0, -3000.0}) {
      SCOPED_TRACE(std::string(problem) + " " + std::to_string(bias));
      VariantCall call("aft", problem, GetParam());
      call.SetKnob("window", 5);
      call.SetInput("distance_bias",
                    [&](int64_t t, int64_t) { return t % 2 == 0 ? bias : 0; });
      const eval::Tensors& t = call.tensors();
      for (int64_t h = 0; h < t.key.view.heads(); ++h) {
        *t.key.At(0, 3, h, 1) = -900;
        *t.key.At(0, 20, h, 1) = 900;
        *t.key.At(0, 40, h, 2) = 3e38f;
        *t.key.At(0, 0, h, 3) = -3e38f;
      }
      const std::vector<float> out = call.Out();
      for (const float x : out) ASSERT_TRUE(std::isfinite(x));
      EXPECT_LT(ErrorOf(out, call.Reference()), bias == 0 ? 1e-5 : 1e-3);
    }
  }
}

// A key of -inf has no weight; a channel of such keys alone is 0.
TEST_P(Aft, KeysOfMinusInfinityAreNotThere) {
  VariantCall call("aft", kProblem, GetParam());
  for (int64_t t = 0; t < 50; ++t) {
    *call.tensors().key.At(0, t, 1, 4) = -INFINITY;
    if (t < 10) *call.tensors().key.At(0, t, 1, 5) = -INFINITY;
  }
  const std::vector<float> out = call.Out();
  EXPECT_LT(ErrorOf(out, call.Reference()), 1e-5);
  for (size_t t = 0; t < 50; ++t) {
    const size_t row = (t * 4 + 2) * 16;  // head 2 reads key head 1
    EXPECT_EQ(out[row + 4], 0.0f);
    EXPECT_EQ(out[row + 5] == 0.0f, t < 10) << t;
  }
}

TEST_P(Aft, NansReachTheirChannelOfTheRowsThatSeeThem) {
  VariantCall call("aft", "b1_h1_d8_q60_causal", GetParam());
  call.SetKnob("window", 4);
  *call.tensors().key.At(0, 20, 0, 3) = NAN;
  *call.tensors().value.At(0, 30, 0, 5) = NAN;
  *call.tensors().query.At(0, 40, 0, 6) = NAN;
  const std::vector<float> out = call.Out();
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t t = i / 8, c = i % 8;
    const bool sees =
        (c == 3 && t >= 20) || (c == 5 && t >= 30) || (c == 6 && t == 40);
    ASSERT_EQ(std::isnan(out[i]), sees) << t << " " << c;
  }
}

// Rows beyond the last key, and before the first, stand at none.
TEST_P(Aft, RowsWithoutAPlaceHaveNoBias) {
  for (const char* problem :
       {"b1_h2_d8_q30_k20_causal_off5", "b1_h2_d8_q30_k20_off-4"}) {
    SCOPED_TRACE(problem);
    VariantCall call("aft", problem, GetParam());
    VariantCall simple("aft", problem, GetParam());
    simple.SetKnob("window", 0);
    const std::vector<float> out = call.Out(), want = simple.Out();
    EXPECT_LT(ErrorOf(out, call.Reference()), kRounding);
    const bool causal = call.args().params.causal;
    const int64_t offset = call.args().params.causal_offset;
    for (int64_t i = 0; i < 30; ++i) {
      const bool stands = i + offset >= 0 && i + offset < 20;
      for (size_t c = 0; c < 16; ++c) {
        const size_t at = static_cast<size_t>(16 * i) + c;
        if (!stands) {
          ASSERT_NEAR(out[at], want[at], 1e-6f) << causal << i;
        }
      }
    }
  }
}

TEST(AftBits, AreThoseOfEveryTable) {
  for (const char* problem : {kProblem, "b1_h2_d20_q90_k140"}) {
    std::vector<float> first;
    for (const std::string& target : SameBitsTargets()) {
      VariantCall call("aft", problem, target);
      ASSERT_TRUE(internal::SetOpsTarget(target.c_str()));
      const std::vector<float> out = call.Out();
      if (first.empty()) first = out;
      EXPECT_EQ(out, first) << target;
    }
    internal::SetOpsTarget(nullptr);
  }
}

TEST(AftInputs, AreBounded) {
  for (const char* input : {"query_bias", "key_bias", "distance_bias"}) {
    for (const double bad :
         {2e15, static_cast<double>(-INFINITY), static_cast<double>(NAN)}) {
      SCOPED_TRACE(std::string(input) + " " + std::to_string(bad));
      VariantCall call("aft", kProblem, "");
      call.args().target = nullptr;
      call.SetInput(input,
                    [&](int64_t t, int64_t) { return t == 7 ? bad : 0.5; });
      const Status status = call.Run();
      EXPECT_STREQ(status.argument(), input) << ToString(status);
      EXPECT_TRUE(call.Untouched());
    }
  }
}

}  // namespace
}  // namespace heed::test
