// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What members with states of their own, and those with several, must equal of
// the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_dv20_q50_causal";
constexpr double kRounding = 5e-6;

class OwnStateFamily : public LinearVariantOnTarget {};
HEED_ON_EVERY_TARGET(OwnStateFamily);

double Gate(int64_t token, int64_t /*channel*/) {
  return token % 7 == 3 ? 0.0 : -0.03 * static_cast<double>(token % 11);
}
double Beta(int64_t token, int64_t /*channel*/) {
  return 0.1 * static_cast<double>(token % 10);
}
double Zero(int64_t /*token*/, int64_t /*channel*/) { return 0; }
double One(int64_t /*token*/, int64_t /*channel*/) { return 1; }

// Brings each row of a tensor to unit length, so that another norm changes
// nothing.
void MakeUnit(const TensorView& x) {
  for (int64_t b = 0; b < x.batch(); ++b) {
    for (int64_t t = 0; t < x.seqlen(); ++t) {
      for (int64_t h = 0; h < x.heads(); ++h) {
        double square = 0;
        for (int64_t c = 0; c < x.head_dim(); ++c) {
          const double at = static_cast<double>(RowAt(x, b, t, h)[c]);
          square += at * at;
        }
        for (int64_t c = 0; c < x.head_dim(); ++c) {
          RowAt(x, b, t, h)[c] /= static_cast<float>(std::sqrt(square));
        }
      }
    }
  }
}

// With a slot for each token, slots are the keys.
TEST_P(OwnStateFamily, GsaWithASlotForEachTokenIsSoftmax) {
  const char problem[] = "b2_h4_kv2_d16_dv20_q9_k16";
  VariantCall gsa("gsa", problem, GetParam());
  VariantCall exact("exact", problem, GetParam());
  gsa.SetInput("gate", [](int64_t t, int64_t slot) {
    return t == slot ? -static_cast<double>(INFINITY) : 0.0;
  });
  EXPECT_LT(ErrorOf(gsa.Out(), Doubles(exact.Out())), kRounding);
}

// A router of all slots alike shares the gate among them.
TEST_P(OwnStateFamily, RavenOfAllSlotsIsGsa) {
  VariantCall raven("raven", kProblem, GetParam());
  VariantCall gsa("gsa", kProblem, GetParam());
  raven.SetKnob("topk", 16);
  raven.SetInput("router", One);
  raven.SetInput("gate", [](int64_t t, int64_t c) { return 16 * Gate(t, c); });
  gsa.SetInput("gate", Gate);
  gsa.args().params.softmax_scale = 1;
  EXPECT_LT(ErrorOf(raven.Out(), Doubles(gsa.Out())), kRounding);
}

// Slots that the router leaves out keep what they have.
TEST_P(OwnStateFamily, RavenRoutesToItsLargest) {
  const char problem[] = "b2_h4_kv2_d16_dv20_q9_k16";
  VariantCall raven("raven", problem, GetParam());
  VariantCall exact("exact", problem, GetParam());
  raven.SetKnob("topk", 1);
  raven.SetInput(
      "gate", [](int64_t, int64_t) { return -static_cast<double>(INFINITY); });
  raven.SetInput("router", [](int64_t t, int64_t slot) {
    return -std::fabs(static_cast<double>(t - slot));
  });
  exact.args().params.softmax_scale = 1;
  EXPECT_LT(ErrorOf(raven.Out(), Doubles(exact.Out())), kRounding);
}

// A step that is all its own token's, of keys that do not turn.
TEST_P(OwnStateFamily, Mamba3AtTheEndsOfItsStepsIsMamba2) {
  const auto dt = [](int64_t t, int64_t) {
    return 0.01 * static_cast<double>(1 + t % 9);
  };
  VariantCall three("mamba3", kProblem, GetParam());
  VariantCall two("mamba2", kProblem, GetParam());
  three.SetInput("trapezoid", One);
  three.SetInput("theta", Zero);
  three.SetInput("dt", dt);
  three.SetInput("gate", [&](int64_t t, int64_t c) { return -3 * dt(t, c); });
  two.SetKnob("a_min", 3);
  two.SetKnob("a_max", 3);
  two.SetInput("dt", dt);
  EXPECT_LT(ErrorOf(three.Out(), Doubles(two.Out())), kRounding);
}

// Turning queries and keys by the same angle at all times changes nothing: a
// first step that turns, and none after it.
TEST_P(OwnStateFamily, Mamba3CountsAnglesBetweenTokens) {
  VariantCall turned("mamba3", kProblem, GetParam());
  VariantCall plain("mamba3", kProblem, GetParam());
  turned.SetInput("dt", One);
  plain.SetInput("dt", One);
  turned.SetInput("theta", [](int64_t t, int64_t c) {
    return t == 0 ? 0.3 * static_cast<double>(c + 1) : 0.0;
  });
  plain.SetInput("theta", Zero);
  const std::vector<float> want = plain.Out();
  EXPECT_LT(ErrorOf(turned.Out(), Doubles(want)), kRounding);
  turned.SetInput("theta", [](int64_t, int64_t) { return 0.3; });
  EXPECT_GT(ErrorOf(turned.Out(), Doubles(want)), 0.05);
}

// Many sines and cosines are the Gaussian kernel, which of unit rows is
// softmax's.
TEST_P(OwnStateFamily, RfaOfManyFeaturesIsSoftmaxOfUnitRows) {
  VariantCall rfa("rfa", kProblem, GetParam());
  VariantCall exact("exact", kProblem, GetParam());
  for (VariantCall* call : {&rfa, &exact}) {
    MakeUnit(call->tensors().query.view);
    MakeUnit(call->tensors().key.view);
    call->args().params.softmax_scale = 0.5f;
  }
  const std::vector<double> want = Doubles(exact.Out());
  rfa.SetKnob("features", 64);
  const double few = ErrorOf(rfa.Out(), want);
  rfa.SetKnob("features", 512);
  const double many = ErrorOf(rfa.Out(), want);
  EXPECT_LT(many, 0.1);
  EXPECT_LT(many, 0.7 * few);
}

// A gate a token that is -inf leaves the last token alone.
TEST_P(OwnStateFamily, RfaThatForgetsAllIsItsOwnValue) {
  VariantCall rfa("rfa", "b1_h2_d16_q20_causal", GetParam());
  rfa.SetKnob("gated", 1);
  rfa.SetKnob("features", 256);
  rfa.SetInput("gate",
               [](int64_t, int64_t) { return -static_cast<double>(INFINITY); });
  const std::vector<float> out = rfa.Out();
  const std::vector<float> values = rfa.tensors().value.Dense();
  EXPECT_LT(ErrorOf(out, Doubles(values)), kRounding);
}

TEST_P(OwnStateFamily, LogLinearOfEqualLevelsIsSimpleGla) {
  for (const char* problem :
       {kProblem, "b1_h4_kv2_d16_dv20_q30_k140_causal", "b1_h2_d8_q5_k70"}) {
    SCOPED_TRACE(problem);
    VariantCall levels("log_linear", problem, GetParam());
    VariantCall simple("simple_gla", problem, GetParam());
    levels.SetInput("gate", Gate);
    levels.SetInput("level_scale", One);
    simple.SetInput("gate", Gate);
    simple.args().params.softmax_scale = 1;
    EXPECT_LT(ErrorOf(levels.Out(), Doubles(simple.Out())), kRounding);
  }
}

// Weights of 1 at level 0 alone leave a row its own token.
TEST_P(OwnStateFamily, LogLinearLevelsAreSpans) {
  VariantCall own("log_linear", "b1_h1_d16_q40_causal", GetParam());
  VariantCall span("log_linear", "b1_h1_d16_q40_causal", GetParam());
  own.SetInput("gate", Zero);
  span.SetInput("gate", Zero);
  own.SetInput("level_scale",
               [](int64_t, int64_t level) { return level == 0 ? 1.0 : 0.0; });
  // Of row 38 = 32 + 4 + 2: level 6 are its tokens 0 to 31.
  span.SetInput("level_scale",
                [](int64_t, int64_t level) { return level == 6 ? 1.0 : 0.0; });
  const std::vector<float> one = own.Out(), many = span.Out();
  const eval::Tensors& t = own.tensors();
  const auto weight = [&](int64_t j) {
    double dot = 0;
    for (int64_t c = 0; c < 16; ++c) {
      dot += static_cast<double>(t.query.At(0, 38, 0, 0)[c]) *
             static_cast<double>(t.key.At(0, j, 0, 0)[c]);
    }
    return dot;
  };
  for (int64_t x = 0; x < 16; ++x) {
    double want = 0;
    for (int64_t j = 0; j < 32; ++j) {
      want += weight(j) * static_cast<double>(t.value.At(0, j, 0, 0)[x]);
    }
    const size_t at = static_cast<size_t>(38 * 16 + x);
    EXPECT_NEAR(static_cast<double>(many[at]), want, 1e-4);
    EXPECT_NEAR(static_cast<double>(one[at]),
                weight(38) * static_cast<double>(t.value.At(0, 38, 0, 0)[x]),
                1e-5);
  }
}

// Solves the normal equations of all keys by Gaussian elimination.
std::vector<double> Ridge(const eval::Tensors& t, int64_t row, int64_t n,
                          double lambda) {
  const auto unit = [&](const float* x) {
    double square = 1e-6;
    std::vector<double> y(x, x + n);
    for (const double c : y) square += c * c;
    for (double& c : y) c /= std::sqrt(square);
    return y;
  };
  const size_t size = static_cast<size_t>(n);
  std::vector<std::vector<double>> h(size, std::vector<double>(size));
  std::vector<double> x = unit(t.query.At(0, row, 0, 0));
  for (size_t r = 0; r < size; ++r) h[r][r] = lambda;
  for (int64_t j = 0; j < t.key.view.seqlen(); ++j) {
    const std::vector<double> k = unit(t.key.At(0, j, 0, 0));
    for (size_t r = 0; r < size; ++r) {
      for (size_t c = 0; c < size; ++c) h[r][c] += k[r] * k[c];
    }
  }
  for (size_t p = 0; p < size; ++p) {
    for (size_t r = 0; r < size; ++r) {
      const double factor = h[r][p] / h[p][p];
      if (r == p) continue;
      for (size_t c = p; c < size; ++c) h[r][c] -= factor * h[p][c];
      x[r] -= factor * x[p];
    }
  }
  std::vector<double> out(static_cast<size_t>(t.value.view.head_dim()));
  for (int64_t j = 0; j < t.key.view.seqlen(); ++j) {
    const std::vector<double> k = unit(t.key.At(0, j, 0, 0));
    double weight = 0;
    for (size_t r = 0; r < size; ++r) weight += x[r] / h[r][r] * k[r];
    for (size_t v = 0; v < out.size(); ++v) {
      out[v] += weight * static_cast<double>(t.value.At(0, j, 0, 0)[v]);
    }
  }
  return out;
}

TEST_P(OwnStateFamily, MesaIsRidgeRegression) {
  VariantCall mesa("mesa", "b1_h1_d12_dv20_q7_k60", GetParam());
  mesa.SetKnob("lambda", 0.5);
  mesa.SetInput("gate", Zero);
  mesa.SetInput("beta", One);
  std::vector<double> want;
  for (int64_t row = 0; row < 7; ++row) {
    const std::vector<double> one = Ridge(mesa.tensors(), row, 12, 0.5);
    want.insert(want.end(), one.begin(), one.end());
  }
  EXPECT_LT(ErrorOf(mesa.Out(), want), kRounding);
  mesa.SetKnob("max_cg_step", 2);
  EXPECT_GT(ErrorOf(mesa.Out(), want), 1e-3);
}

// Queries that read one row of the state each: those of one rule are columns of
// the other's.
TEST_P(OwnStateFamily, OjasStateIsDeltaNetsTransposed) {
  const char problem[] = "b1_h16_kv1_d16_q40_causal";
  VariantCall oja("gated_oja", problem, GetParam());
  VariantCall delta("deltanet", problem, GetParam());
  delta.SetKnob("qk_norm", 0);
  oja.SetInput("gate", Zero);
  for (VariantCall* call : {&oja, &delta}) {
    call->SetInput("beta", Beta);
    for (int64_t t = 0; t < 40; ++t) {
      for (int64_t h = 0; h < 16; ++h) {
        float* q = call->tensors().query.At(0, t, h, 0);
        std::fill(q, q + 16, 0.0f);
        q[h] = 1;
      }
    }
  }
  for (int64_t t = 0; t < 40; ++t) {
    const float* k = oja.tensors().key.At(0, t, 0, 0);
    const float* v = oja.tensors().value.At(0, t, 0, 0);
    std::copy(k, k + 16, delta.tensors().value.At(0, t, 0, 0));
    std::copy(v, v + 16, delta.tensors().key.At(0, t, 0, 0));
  }
  const std::vector<float> rows = oja.Out();
  std::vector<double> want(rows.size());
  const std::vector<float> columns = delta.Out();
  for (size_t i = 0; i < want.size(); ++i) {
    const size_t token = i / 256 * 256, h = i / 16 % 16, x = i % 16;
    want[i] = static_cast<double>(columns[token + x * 16 + h]);
  }
  EXPECT_LT(ErrorOf(rows, want), kRounding);
}

}  // namespace
}  // namespace heed::test
