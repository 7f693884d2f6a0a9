// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What members that erase under keys of their own must equal of the others.
#include <gtest/gtest.h>

#include "tests/linear/variant_call.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "b2_h4_kv2_d16_dv20_q50_causal";
constexpr double kRounding = 5e-6;

class UntiedFamily : public LinearVariantOnTarget {};
HEED_ON_EVERY_TARGET(UntiedFamily);

double Gate(int64_t token, int64_t channel) {
  return token % 7 == 3 ? 0.0
                        : -0.03 * static_cast<double>((token + channel) % 11);
}
double SameGate(int64_t token, int64_t /*channel*/) { return Gate(token, 0); }
double Beta(int64_t token, int64_t /*channel*/) {
  return 0.1 * static_cast<double>(token % 10);
}
double Zero(int64_t /*token*/, int64_t /*channel*/) { return 0; }

TEST_P(UntiedFamily, Gdn2WithOneNumberIsKda) {
  VariantCall gdn2("gdn2", kProblem, GetParam());
  VariantCall kda("kda", kProblem, GetParam());
  gdn2.SetInput("gate", Gate);
  gdn2.SetInput("erase", Beta);
  gdn2.SetInput("write", Beta);
  kda.SetInput("gate", Gate);
  kda.SetInput("beta", Beta);
  EXPECT_LT(ErrorOf(gdn2.Out(), Doubles(kda.Out())), kRounding);
}

// Before and after fading are the same where nothing fades.
TEST_P(UntiedFamily, CombaInAnOpenLoopIsDeltaNet) {
  VariantCall comba("comba", kProblem, GetParam());
  VariantCall delta("deltanet", kProblem, GetParam());
  comba.SetKnob("feedback", 1);
  comba.SetKnob("correction", 0);
  comba.SetInput("gate", Zero);
  comba.SetInput("beta", Beta);
  delta.SetInput("beta", Beta);
  EXPECT_LT(ErrorOf(comba.Out(), Doubles(delta.Out())), kRounding);
}

TEST_P(UntiedFamily, Rwkv7AtRateZeroIsGla) {
  VariantCall rwkv("rwkv7", kProblem, GetParam());
  VariantCall gla("gla", kProblem, GetParam());
  rwkv.SetInput("gate", Gate);
  rwkv.SetInput("rate", Zero);
  gla.SetInput("gate", Gate);
  gla.args().params.softmax_scale = 1;
  EXPECT_LT(ErrorOf(rwkv.Out(), Doubles(gla.Out())), kRounding);
}

TEST_P(UntiedFamily, DeltaProductWithoutItsSecondStepIsGatedDeltaNet) {
  VariantCall product("delta_product", kProblem, GetParam());
  VariantCall gdn("gated_delta", kProblem, GetParam());
  product.SetInput("gate", SameGate);
  product.SetInput("beta", Beta);
  product.SetInput("second_beta", Zero);
  gdn.SetInput("gate", SameGate);
  gdn.SetInput("beta", Beta);
  EXPECT_LT(ErrorOf(product.Out(), Doubles(gdn.Out())), kRounding);
}

}  // namespace
}  // namespace heed::test
