// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Delta rules along preconditioned keys: numbers by hand, and what they must
// equal of one another and of those without.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_dv20_q50_causal";
constexpr double kRounding = 5e-6;

class PrecondFamily : public LinearVariantOnTarget {};
HEED_ON_EVERY_TARGET(PrecondFamily);

double Gate(int64_t token, int64_t /*channel*/) {
  return token % 7 == 3 ? 0.0 : -0.03 * static_cast<double>(token % 11);
}
double ChannelGate(int64_t token, int64_t channel) {
  return -0.02 * static_cast<double>((token + 3 * channel) % 9);
}
double Logit(int64_t token, int64_t channel) {
  return 0.5 * static_cast<double>((token + 3 * channel) % 9) - 2;
}
double Beta(int64_t token, int64_t /*channel*/) {
  return 0.1 * static_cast<double>(token % 10);
}

// Brings queries to unit length, so that another norm changes nothing.
void MakeQueriesUnit(VariantCall* call) {
  const TensorView& x = call->tensors().query.view;
  for (int64_t b = 0; b < x.batch(); ++b) {
    for (int64_t t = 0; t < x.seqlen(); ++t) {
      for (int64_t h = 0; h < x.heads(); ++h) {
        std::vector<double> unit(static_cast<size_t>(x.head_dim()));
        UnitLength(RowAt(x, b, t, h), x.head_dim(), unit.data());
        for (int64_t c = 0; c < x.head_dim(); ++c) {
          RowAt(x, b, t, h)[c] =
              static_cast<float>(unit[static_cast<size_t>(c)]);
        }
      }
    }
  }
}

TEST_P(PrecondFamily, ConditionedByNothingIsTheRuleItself) {
  const struct {
    const char *name, *plain;
    double (*gate)(int64_t, int64_t);
    double lower_bound;
  } cases[] = {{"precond_gated_delta", "gated_delta", &Gate, 0},
               {"precond_kda", "kda", &ChannelGate, 0},
               {"precond_kda", "kda", &Logit, -5}};
  for (const auto& one : cases) {
    SCOPED_TRACE(std::string(one.name) + " " + std::to_string(one.lower_bound));
    VariantCall precond(one.name, kProblem, GetParam());
    VariantCall plain(one.plain, kProblem, GetParam());
    for (VariantCall* call : {&precond, &plain}) {
      MakeQueriesUnit(call);
      call->SetKnob("lower_bound", one.lower_bound);
      call->SetInput("gate", one.gate);
      call->SetInput("beta", Beta);
    }
    const std::vector<double> want = Doubles(plain.Out());
    EXPECT_GT(ErrorOf(precond.Out(), want), 0.01);
    precond.SetKnob("squash_x", 1);
    EXPECT_LT(ErrorOf(precond.Out(), want), kRounding);
  }
}

TEST_P(PrecondFamily, KdaWithEqualGatesIsGatedDeltaNet) {
  VariantCall kda("precond_kda", kProblem, GetParam());
  VariantCall gdn("precond_gated_delta", kProblem, GetParam());
  for (VariantCall* call : {&kda, &gdn}) {
    call->SetInput("gate", Gate);
    call->SetInput("beta", Beta);
    call->SetInput("atk_gate", [](int64_t t, int64_t) {
      return -0.05 * static_cast<double>(t % 5);
    });
    call->SetInput("atk_beta", [](int64_t t, int64_t) {
      return 0.2 * static_cast<double>(t % 4);
    });
    call->SetKnob("squash_x", 2);
  }
  EXPECT_LT(ErrorOf(kda.Out(), Doubles(gdn.Out())), kRounding);
}

// One token, each of whose channels a row reads: its value times p, beta and
// the scale. p is worked out apart from the code, from unit = k / sqrt(|k|^2 +
// 1e-6), r = log(atk_beta unit^2 + 1e-6) - log_atk_scale and p = unit
// squash_x^(-r / (1 + |r|)): channels above and below log_atk_scale, and one so
// small that the 1e-6 counts.
TEST_P(PrecondFamily, KeysAreTheseNumbers) {
  struct Case {
    double squash_x, log_atk_scale, atk_beta;
    double p[4];
  };
  constexpr Case kCases[] = {
      {2, -1, 1, {0.62456562, 0.60912484, 0.0018947388, -0.088967588}},
      {1.5, -0.2, 1, {0.86622055, 0.71972473, 0.0014551297, -0.070566459}},
      {2, 1, 0.5, {1.28164226, 0.99462101, 0.0019096500, -0.092215025}},
  };
  constexpr float kKey[] = {0.8f, 0.6f, 0.001f, -0.05f};
  constexpr double kValue[] = {1, -2, 0.25, 3};
  for (const char* name : {"precond_gated_delta", "precond_kda"}) {
    for (const Case& one : kCases) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(one.log_atk_scale));
      VariantCall call(name, "b1_h1_d4_q4_k1", GetParam());
      call.SetKnob("squash_x", one.squash_x);
      call.SetKnob("log_atk_scale", one.log_atk_scale);
      call.SetInput("atk_beta", [&](int64_t, int64_t) { return one.atk_beta; });
      call.SetInput("beta", [](int64_t, int64_t) { return 0.5; });
      const eval::Tensors& t = call.tensors();
      for (int64_t c = 0; c < 4; ++c) {
        t.key.At(0, 0, 0, 0)[c] = kKey[c];
        t.value.At(0, 0, 0, 0)[c] = static_cast<float>(kValue[c]);
        for (int64_t i = 0; i < 4; ++i) {
          t.query.At(0, i, 0, 0)[c] = i == c ? 1.0f : 0.0f;
        }
      }
      const std::vector<float> out = call.Out();
      for (size_t i = 0; i < 4; ++i) {
        for (size_t x = 0; x < 4; ++x) {
          // scale 1/2, beta 1/2
          const double want = 0.25 * one.p[i] * kValue[x];
          EXPECT_NEAR(static_cast<double>(out[4 * i + x]), want,
                      3e-6 * std::fabs(want));
        }
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
