// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What linear variants refuse of their inputs: by name, with nothing written.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_q20_causal";

void ExpectRefused(VariantCall& call, const char* argument) {
  const Status status = call.Run();
  EXPECT_FALSE(status.ok());
  EXPECT_STREQ(status.argument(), argument) << ToString(status);
  EXPECT_TRUE(call.Untouched());
}

// Weights of as many rows as the tests' inputs have.
void SetRows(VariantCall& call) { call.SetKnob("feature_dim", 16); }

TEST(LinearInputs, GivenAsTheyAreDrawnChangeNothing) {
  for (const NamedVariant& named : LinearVariants()) {
    // Where no host gives them, these put something else in their place.
    bool weights = false;
    for (int i = 0; i < named.variant.num_inputs; ++i) {
      weights |= named.variant.inputs[i].weights;
    }
    if (named.variant.num_inputs == 0 || weights) continue;
    SCOPED_TRACE(named.name);
    VariantCall drawn(named.name, kProblem, ""),
        given(named.name, kProblem, "");
    drawn.args().target = given.args().target = nullptr;
    given.InputView(named.variant.inputs[0].name);
    EXPECT_EQ(given.Out(), drawn.Out());
  }
}

TEST(LinearInputs, OfAnotherShapeOrTypeAreRefused) {
  const std::function<void(ConstTensorView*)> spoils[] = {
      [](auto* v) { *v = {}; },
      [](auto* v) { v->data = nullptr; },
      [](auto* v) { --v->extent[0]; },
      [](auto* v) { --v->extent[1]; },
      [](auto* v) { ++v->extent[1]; },
      [](auto* v) { --v->extent[2]; },
      [](auto* v) { v->extent[3] = 3; },
      [](auto* v) { v->dtype = DType::kBF16; },
      [](auto* v) { v->stride[1] = -4; },
  };
  int tried = 0;
  for (const NamedVariant& named : LinearVariants()) {
    for (int i = 0; i < named.variant.num_inputs; ++i) {
      const char* input = named.variant.inputs[i].name;
      int number = 0;
      for (const auto& spoil : spoils) {
        SCOPED_TRACE(std::string(named.name) + ":" + input + " " +
                     std::to_string(number++));
        VariantCall call(named.name, kProblem, "");
        call.args().target = nullptr;
        SetRows(call);
        spoil(&call.InputView(input));
        ExpectRefused(call, input);
        ++tried;
      }
    }
  }
  EXPECT_GE(tried, 100);
}

// (What comes after the last key that a row sees is not looked at.)
TEST(LinearInputs, GatesThatGrowOrAreNanAreRefused) {
  for (const char* name :
       {"simple_gla", "gla", "rwkv6", "gated_delta", "kda", "gsa", "raven",
        "mamba3", "rfa", "log_linear", "mesa", "precond_gated_delta",
        "precond_kda", "gated_oja"}) {
    for (const double bad :
         {1e-6, 1.0, static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(bad));
      VariantCall call(name, kProblem, "");
      call.args().target = nullptr;
      call.SetInput("gate", [&](int64_t t, int64_t c) {
        return t == 18 && c == 0 ? bad : -0.5;
      });
      ExpectRefused(call, "gate");
    }
  }
}

TEST(LinearInputs, StepsBackAreRefused) {
  for (const double bad :
       {-0.1, static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
    SCOPED_TRACE(bad);
    VariantCall call("mamba2", kProblem, "");
    call.args().target = nullptr;
    call.SetInput("dt", [&](int64_t t, int64_t) { return t == 7 ? bad : 0.1; });
    ExpectRefused(call, "dt");
  }
}

// Its steps have a bound, up to which nothing overflows.
TEST(LinearInputs, StepsOfMamba3AreBounded) {
  for (const double bad : {-0.1, 65537.0, 3e38, static_cast<double>(INFINITY),
                           static_cast<double>(NAN)}) {
    SCOPED_TRACE(bad);
    VariantCall call("mamba3", kProblem, "");
    call.args().target = nullptr;
    call.SetInput("dt", [&](int64_t t, int64_t) { return t == 7 ? bad : 0.1; });
    ExpectRefused(call, "dt");
  }
  VariantCall call("mamba3", kProblem, "");
  call.args().target = nullptr;
  call.SetInput("dt", [](int64_t, int64_t) { return 65536.0; });
  call.SetInput("theta", [](int64_t, int64_t) { return 3e38; });
  for (const float x : call.Out()) EXPECT_TRUE(std::isfinite(x));
}

// A sigmoid is behind it: all but NaN are gates.
TEST(LinearInputs, GatesBeforeTheirSigmoidMayBeAnyNumber) {
  for (const char* name : {"kda", "precond_kda"}) {
    for (const double gate : {-200.0, 3.0, static_cast<double>(INFINITY),
                              static_cast<double>(NAN)}) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(gate));
      VariantCall call(name, kProblem, "");
      call.args().target = nullptr;
      call.SetKnob("lower_bound", -5);
      call.SetInput("gate",
                    [&](int64_t t, int64_t) { return t == 2 ? gate : 0.5; });
      if (std::isnan(gate)) {
        ExpectRefused(call, "gate");
      } else {
        EXPECT_LT(ErrorOf(call.Out(), call.Reference()), 1e-5);
      }
    }
  }
}

// What no row sees is not looked at.
TEST(LinearInputs, TokensBehindTheLastRowMayHoldAnything) {
  for (const int64_t bad_token : {14, 15}) {
    SCOPED_TRACE(bad_token);
    VariantCall call("gated_delta", kProblem, "");
    call.args().target = nullptr;
    call.args().params.causal_offset = -5;
    call.SetInput("gate", [&](int64_t t, int64_t) {
      return t == bad_token ? static_cast<double>(NAN) : -0.5;
    });
    if (bad_token == 14) {
      ExpectRefused(call, "gate");
    } else {
      EXPECT_LT(ErrorOf(call.Out(), call.Reference()), 1e-5);
    }
  }
}

TEST(LinearInputs, BetaBeyondItsRangeIsRefused) {
  for (const char* name : {"deltanet", "gated_delta", "kda"}) {
    for (const double bad : {-0.1, 2.1, static_cast<double>(NAN)}) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(bad));
      VariantCall call(name, kProblem, "");
      call.args().target = nullptr;
      call.SetInput("beta",
                    [&](int64_t t, int64_t) { return t == 3 ? bad : 0.5; });
      ExpectRefused(call, "beta");
    }
  }
  VariantCall twice("deltanet", kProblem, "");
  twice.args().target = nullptr;
  twice.SetKnob("allow_neg_eigval", 1);
  twice.SetInput("beta", [](int64_t t, int64_t) { return t == 3 ? 1.5 : 1.0; });
  ExpectRefused(twice, "beta");
  EXPECT_NE(ToString(twice.Run()).find("0 to 1"), std::string::npos)
      << ToString(twice.Run());
}

// Of maps that make two features of a channel, by the caller's own number.
TEST(LinearInputs, HeadDimOfTooManyFeaturesIsRefused) {
  for (const char* name : {"hedgehog", "cosformer"}) {
    SCOPED_TRACE(name);
    VariantCall widest(name, "b1_h1_d512_q3_causal", "");
    widest.args().target = nullptr;
    EXPECT_TRUE(widest.Run().ok());
    VariantCall call(name, "b1_h1_d513_q3_causal", "");
    call.args().target = nullptr;
    ExpectRefused(call, "head_dim");
    EXPECT_NE(ToString(call.Run()).find("512"), std::string::npos)
        << ToString(call.Run());
  }
}

// A norm leaves nothing of one number.
TEST(LinearInputs, RebasedOfOneNumberIsRefused) {
  VariantCall knob("rebased", kProblem, "");
  knob.args().target = nullptr;
  knob.SetKnob("feature_dim", 1);
  ExpectRefused(knob, "feature_dim");
}

// Positions at the ends of 64 bits are positions.
TEST(LinearInputs, AnyOffsetIsServed) {
  for (const NamedVariant& named : LinearVariants()) {
    for (const int64_t offset : {INT64_MIN + 1, INT64_MAX}) {
      SCOPED_TRACE(std::string(named.name) + " " + std::to_string(offset));
      VariantCall call(named.name, "b1_h2_d16_q5_k9_causal", "");
      call.args().target = nullptr;
      call.args().params.causal_offset = offset;
      const std::vector<float> out = call.Out();
      for (const float x : out) {
        ASSERT_TRUE(offset < 0 ? x == 0 : std::isfinite(x));
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
