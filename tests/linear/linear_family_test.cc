// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What members of the family must equal of one another, whatever their
// references say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tests/linear/scan_case.h"
#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_dv20_q50_causal";
constexpr double kRounding = 5e-6;

class LinearFamily : public LinearVariantOnTarget {
 protected:
  // Sets every row of queries to unit length, so that another norm changes
  // nothing.
  static void UnitQueries(VariantCall& call) {
    const eval::Tensors& t = call.tensors();
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t i = 0; i < 50; ++i) {
        for (int64_t h = 0; h < 4; ++h) {
          double square = 0;
          for (int64_t c = 0; c < 16; ++c) {
            const double x = static_cast<double>(*t.query.At(b, i, h, c));
            square += x * x;
          }
          for (int64_t c = 0; c < 16; ++c) {
            *t.query.At(b, i, h, c) /= static_cast<float>(std::sqrt(square));
          }
        }
      }
    }
  }
};
HEED_ON_EVERY_TARGET(LinearFamily);

double SameGate(int64_t token, int64_t /*channel*/) {
  return token % 7 == 3 ? 0.0 : -0.03 * static_cast<double>(token % 11);
}
double Beta(int64_t token, int64_t /*channel*/) {
  return 0.1 * static_cast<double>(token % 10);
}
double Zero(int64_t /*token*/, int64_t /*channel*/) { return 0; }

TEST_P(LinearFamily, KdaWithEqualGatesIsGatedDeltaNet) {
  VariantCall kda("kda", kProblem, GetParam());
  VariantCall gdn("gated_delta", kProblem, GetParam());
  for (VariantCall* call : {&kda, &gdn}) {
    UnitQueries(*call);
    call->SetInput("gate", SameGate);
    call->SetInput("beta", Beta);
  }
  EXPECT_LT(ErrorOf(kda.Out(), Doubles(gdn.Out())), kRounding);
}

TEST_P(LinearFamily, GatedDeltaNetWithoutGatesIsDeltaNet) {
  VariantCall gdn("gated_delta", kProblem, GetParam());
  VariantCall delta("deltanet", kProblem, GetParam());
  delta.SetKnob("qk_norm", 0);
  gdn.SetInput("gate", Zero);
  gdn.SetInput("beta", Beta);
  delta.SetInput("beta", Beta);
  EXPECT_LT(ErrorOf(gdn.Out(), Doubles(delta.Out())), kRounding);
}

TEST_P(LinearFamily, NegativeEigenvaluesAreTwiceBeta) {
  VariantCall twice("deltanet", kProblem, GetParam());
  VariantCall once("deltanet", kProblem, GetParam());
  twice.SetKnob("allow_neg_eigval", 1);
  twice.SetInput("beta", Beta);
  once.SetInput("beta", [](int64_t t, int64_t c) { return 2 * Beta(t, c); });
  EXPECT_TRUE(SameNumbers(twice.Out(), once.Out()));
}

TEST_P(LinearFamily, DeltaRuleWithoutBetaWritesNothing) {
  for (const char* name : {"deltanet", "gated_delta", "kda"}) {
    VariantCall call(name, kProblem, GetParam());
    call.SetInput("beta", Zero);
    for (const float x : call.Out()) ASSERT_EQ(x, 0.0f) << name;
  }
}

TEST_P(LinearFamily, GlaWithEqualGatesIsSimpleGla) {
  VariantCall gla("gla", kProblem, GetParam());
  VariantCall simple("simple_gla", kProblem, GetParam());
  gla.SetInput("gate", SameGate);
  simple.SetInput("gate", SameGate);
  EXPECT_LT(ErrorOf(gla.Out(), Doubles(simple.Out())), kRounding);
}

TEST_P(LinearFamily, KdaBoundMultiplies) {
  VariantCall bound("kda", kProblem, GetParam());
  VariantCall gate("kda", kProblem, GetParam());
  const auto raw = [](int64_t t, int64_t c) {
    return 0.5 * static_cast<double>((t + 3 * c) % 9) - 2;
  };
  bound.SetKnob("lower_bound", -5);
  bound.SetInput("gate", raw);
  gate.SetInput("gate", [&](int64_t t, int64_t c) {
    return -5 / (1 + std::exp(-raw(t, c)));
  });
  EXPECT_LT(ErrorOf(bound.Out(), Doubles(gate.Out())), kRounding);
}

// A step of 1 that fades nothing writes keys as they are, beside D v.
TEST_P(LinearFamily, Mamba2WithoutDecayIsLinearAttention) {
  VariantCall mamba("mamba2", kProblem, GetParam());
  VariantCall plain("simple_gla", kProblem, GetParam());
  mamba.SetKnob("a_min", 0);
  mamba.SetKnob("a_max", 0);
  mamba.SetKnob("skip", 0);
  mamba.SetInput("dt", [](int64_t, int64_t) { return 1.0; });
  plain.SetInput("gate", Zero);
  plain.args().params.softmax_scale = 1;
  EXPECT_LT(ErrorOf(mamba.Out(), Doubles(plain.Out())), kRounding);

  // And its step fades as A dt does.
  mamba.SetKnob("a_min", 2);
  mamba.SetKnob("a_max", 2);
  mamba.SetInput("dt", [](int64_t, int64_t) { return 0.25; });
  plain.SetInput("gate", [](int64_t, int64_t) { return -0.5; });
  plain.args().params.softmax_scale = 0.25;
  EXPECT_LT(ErrorOf(mamba.Out(), Doubles(plain.Out())), kRounding);
}

// A bonus of 1 reads the own token as it is written, so with a state that does
// not fade in between rows read what GLA's do.
TEST_P(LinearFamily, Rwkv6WithoutDecayIsLinearAttention) {
  VariantCall rwkv("rwkv6", kProblem, GetParam());
  VariantCall gla("gla", kProblem, GetParam());
  rwkv.SetInput("gate", Zero);
  rwkv.SetInput("bonus", [](int64_t, int64_t) { return 1.0; });
  gla.SetInput("gate", Zero);
  gla.args().params.softmax_scale = 1;
  EXPECT_LT(ErrorOf(rwkv.Out(), Doubles(gla.Out())), kRounding);
}

TEST_P(LinearFamily, Hgrn2IsGlaOfItsGates) {
  VariantCall hgrn("hgrn2", kProblem, GetParam());
  VariantCall gla("gla", kProblem, GetParam());
  hgrn.SetKnob("lower_bound", 0.25);
  const eval::Tensors &f = hgrn.tensors(), &k = gla.tensors();
  // One logit a token and channel, for all heads and batches.
  const auto logit = [](int64_t t, int64_t c) {
    return static_cast<double>((3 * t + 5 * c) % 13) - 6;
  };
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 50; ++t) {
      for (int64_t h = 0; h < 2; ++h) {
        for (int64_t c = 0; c < 16; ++c) {
          *f.key.At(b, t, h, c) = static_cast<float>(logit(t, c));
          *k.key.At(b, t, h, c) =
              static_cast<float>(0.75 / (1 + std::exp(logit(t, c))));
        }
      }
    }
  }
  gla.SetInput("gate", [&](int64_t t, int64_t c) {
    return std::log(0.25 + 0.75 / (1 + std::exp(-logit(t, c))));
  });
  EXPECT_LT(ErrorOf(hgrn.Out(), Doubles(gla.Out())), kRounding);
}

// fla's slopes leave the first head alone.
TEST_P(LinearFamily, LightningHeadZeroOfFlaNeverFades) {
  VariantCall lightning("lightning", "b1_h1_d16_q50_causal", GetParam());
  VariantCall plain("simple_gla", "b1_h1_d16_q50_causal", GetParam());
  lightning.SetKnob("convention", 1);
  plain.SetInput("gate", Zero);
  EXPECT_LT(ErrorOf(lightning.Out(), Doubles(plain.Out())), kRounding);
  // The authors' one head, in the first of 24 layers, has slope 2^-8.
  lightning.SetKnob("convention", 0);
  plain.SetInput("gate", [](int64_t, int64_t) { return -1.00001 / 256; });
  plain.args().params.softmax_scale = 1;
  EXPECT_LT(ErrorOf(lightning.Out(), Doubles(plain.Out())), kRounding);
}

// A mean of equal values is that value, whatever the weights.
TEST_P(LinearFamily, ConstantValuesStayConstantWhereNormalised) {
  for (const char* name :
       {"linear_elu", "performer", "cosformer", "hedgehog", "t2r", "based",
        "rebased", "linear", "window_linear"}) {
    for (const char* problem : {kProblem, "b1_h2_d16_q30_k40"}) {
      SCOPED_TRACE(std::string(name) + " " + problem);
      VariantCall call(name, problem, GetParam());
      const TensorView& value = call.tensors().value.view;
      for (int64_t b = 0; b < value.batch(); ++b) {
        for (int64_t t = 0; t < value.seqlen(); ++t) {
          for (int64_t h = 0; h < value.heads(); ++h) {
            for (int64_t x = 0; x < value.head_dim(); ++x) {
              RowAt(value, b, t, h)[x] = static_cast<float>(x) - 7.5f;
            }
          }
        }
      }
      const std::vector<float> out = call.Out();
      for (size_t i = 0; i < out.size(); ++i) {
        const float want =
            static_cast<float>(i % static_cast<size_t>(value.head_dim())) -
            7.5f;
        ASSERT_NEAR(out[i], want, 2e-5f * std::fabs(want)) << i;
      }
    }
  }
}

// As far as the window reaches it is softmax; where it is one key, what is far
// counts.
TEST_P(LinearFamily, WindowsMeetTheFarField) {
  VariantCall all("window_linear", kProblem, GetParam());
  VariantCall near("window_linear", kProblem, GetParam());
  VariantCall exact("exact", kProblem, GetParam());
  // Where random features still tell something.
  for (VariantCall* call : {&all, &near, &exact}) {
    call->args().params.softmax_scale = 0.05f;
  }
  all.SetKnob("window", 50);
  near.SetKnob("window", 1);
  const std::vector<float> want = exact.Out();
  EXPECT_EQ(all.Out(), want);
  EXPECT_GT(ErrorOf(near.Out(), Doubles(want)), 0.01);
  // More features come nearer.
  near.SetKnob("features", 1);
  const double one = ErrorOf(near.Out(), Doubles(want));
  near.SetKnob("features", 1024);
  EXPECT_LT(ErrorOf(near.Out(), Doubles(want)), 0.5 * one);
}

// A row at a time, with the keys so far, as decoding has it.
TEST_P(LinearFamily, StepsEqualPrefill) {
  constexpr int64_t kTokens = 21;
  for (const NamedVariant& named : LinearVariants()) {
    SCOPED_TRACE(named.name);
    VariantCall prefill(named.name, "b1_h4_kv2_d16_q21_causal", GetParam());
    VariantCall step(named.name, "b1_h4_kv2_d16_q21_causal", GetParam());
    for (VariantCall* call : {&prefill, &step}) {
      call->SetKnob("m", 64);  // of cosformer: else the length
      call->SetKnob("window", 5);
      call->SetKnob("chunk", 4);
    }
    const std::vector<double> want = Doubles(prefill.Out());
    const AttentionArgs whole = step.args().args;
    std::vector<float> got;
    for (int64_t i = 0; i < kTokens; ++i) {
      step.args().args = whole;
      step.args().args.query = TokensOf(whole.query, i, 1);
      step.args().args.key = TokensOf(whole.key, 0, i + 1);
      step.args().args.value = TokensOf(whole.value, 0, i + 1);
      step.args().args.out = TokensOf(whole.out, i, 1);
      ASSERT_TRUE(step.Run().ok());
      const std::vector<float> out = step.tensors().out.Dense();
      const auto row = static_cast<long>(i * 4 * 16);
      got.insert(got.end(), out.begin() + row, out.begin() + row + 4 * 16);
    }
    EXPECT_LT(ErrorOf(got, want), 1e-5);
  }
}

// No gate is too small: -60 a token, what forgets everything, what keeps all.
TEST_P(LinearFamily, AnyGateIsOrdinary) {
  std::set<std::string> tried;
  for (const NamedVariant& named : LinearVariants()) {
    for (int i = 0; i < named.variant.num_inputs; ++i) {
      if (std::string(named.variant.inputs[i].name) != "gate") continue;
      tried.insert(named.name);
      for (const int kind : {0, 1, 2, 3}) {
        SCOPED_TRACE(std::string(named.name) + " kind " + std::to_string(kind));
        VariantCall call(named.name, kProblem, GetParam());
        call.SetInput("gate", [&](int64_t t, int64_t c) -> double {
          const int64_t place = (5 * t + 3 * c) % 8;
          if (kind == 0) return -60;
          if (kind == 1) return 0;
          if (kind == 2) return -INFINITY;
          return place == 0 ? -INFINITY : place < 3 ? 0.0 : -8.0 * place;
        });
        const std::vector<float> out = call.Out();
        for (const float x : out) ASSERT_TRUE(std::isfinite(x));
        EXPECT_LT(ErrorOf(out, call.Reference()), 1e-5);
      }
    }
  }
  // simple_gla, gla, rwkv6, gated_delta, kda, gdn2, comba, rwkv7,
  // delta_product, gsa, raven, mamba3, rfa, log_linear, mesa,
  // precond_gated_delta, precond_kda and gated_oja.
  EXPECT_EQ(tried.size(), 18u);
}

// Weights that a host gives are those that count.
TEST_P(LinearFamily, GivenWeightsCount) {
  for (const char* name : {"hedgehog", "t2r", "based", "rebased"}) {
    SCOPED_TRACE(name);
    VariantCall call(name, kProblem, GetParam());
    call.SetKnob("feature_dim", 16);
    const std::vector<double> drawn = Doubles(call.Out());
    const char* query = "query_map";
    call.SetInput(query, [](int64_t r, int64_t c) {
      return std::sin(static_cast<double>(3 * r + c)) / 3;
    });
    call.SetInput("key_map", [](int64_t r, int64_t c) {
      return std::cos(static_cast<double>(r + 2 * c)) / 3;
    });
    const std::vector<float> out = call.Out();
    EXPECT_GT(ErrorOf(out, drawn), 0.01);
    EXPECT_LT(ErrorOf(out, call.Reference()), 1e-5);
  }
}

// Based's own scale belongs to the rows that given projections make.
TEST_P(LinearFamily, BasedScalesByTheWidthOfGivenProjections) {
  std::vector<float> out[2];
  for (const int explicit_scale : {0, 1}) {
    VariantCall call("based", kProblem, GetParam());
    call.SetKnob("feature_dim", 4);
    for (const char* input : {"query_map", "key_map"}) {
      call.SetInput(input, [](int64_t r, int64_t c) {
        return std::sin(static_cast<double>(3 * r + c)) / 3;
      });
      call.InputView(input).extent[1] = 4;
    }
    if (explicit_scale != 0) call.args().params.softmax_scale = 0.5f;
    out[explicit_scale] = call.Out();
    EXPECT_LT(ErrorOf(out[explicit_scale], call.Reference()), 1e-5);
  }
  EXPECT_EQ(out[0], out[1]);
}

// The softmaxes of a map whose exponentials no double holds.
TEST_P(LinearFamily, HedgehogServesChannelsBeyondExp) {
  for (const int convention : {0, 1}) {
    SCOPED_TRACE(convention);
    VariantCall call("hedgehog", kProblem, GetParam());
    call.SetKnob("convention", convention);
    *call.tensors().key.At(0, 3, 0, 5) = 800;
    *call.tensors().key.At(1, 7, 1, 2) = -800;
    *call.tensors().query.At(0, 9, 2, 1) = 400;
    const std::vector<float> out = call.Out();
    for (const float x : out) ASSERT_TRUE(std::isfinite(x));
    EXPECT_LT(ErrorOf(out, call.Reference()), 1e-5);
  }
}

// A map and its reference keep a NaN alike: it reaches the rows that see its
// key.
TEST_P(LinearFamily, NanOfAKeyPassesEveryMap) {
  for (const char* name : {"linear_elu", "performer", "hedgehog", "t2r",
                           "based", "rebased", "cosformer"}) {
    SCOPED_TRACE(name);
    VariantCall call(name, "b1_h2_d16_q20_causal", GetParam());
    *call.tensors().key.At(0, 11, 1, 3) = NAN;
    const std::vector<float> out = call.Out();
    const std::vector<double> want = call.Reference();
    for (size_t i = 0; i < out.size(); ++i) {
      const bool sees = i / 32 >= 11 && i / 16 % 2 == 1;
      ASSERT_EQ(std::isnan(out[i]), sees) << i;
      ASSERT_EQ(std::isnan(want[i]), sees) << i;
    }
  }
}

}  // namespace
}  // namespace heed::test
