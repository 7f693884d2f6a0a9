// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every table gives the defined bits under every mask and score rule.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class AttentionMasks : public OnEveryTarget {
 protected:
  void Check(const std::string& problem) { CheckProblem(GetParam(), problem); }
  void CheckAll(const std::vector<std::string>& masks) {
    for (const std::string& mask : masks) {
      Check("h2_kv1_d16_q37_k150" + mask);
      if (!Quick()) Check("h2_d16_q140_k70" + mask);
      Check("h1_d16_q30" + mask);
    }
  }
};

TEST_P(AttentionMasks, CausalOffsets) {
  CheckAll({"_causal", "_causal_off0", "_causal_off1", "_causal_off63",
            "_causal_off64", "_causal_off-1", "_causal_off-20",
            "_causal_off-1000", "_causal_off149", "_causal_off5000",
            "_causal_off9223372036854775807",
            "_causal_off-9223372036854775807"});
}

// The offset places the window whether or not the mask is causal.
TEST_P(AttentionMasks, Windows) {
  CheckAll({"_wl0",
            "_wl1",
            "_wl63",
            "_wl64",
            "_wl1000",
            "_wr0",
            "_wr1",
            "_wr70",
            "_wl0_wr0",
            "_wl5_wr5",
            "_wl64_wr64",
            "_wl9223372036854775807_wr9223372036854775807",
            "_causal_wl0",
            "_causal_wl40",
            "_causal_wl3_wr3",
            "_causal_off10_wl7",
            "_off-5_wl7_wr2",
            "_off200_wl60_wr0",
            "_off-200_wl60_wr0",
            "_off9223372036854775807_wl3_wr3",
            "_off9223372036854775807_wl9223372036854775807",
            "_off-9223372036854775807_wr9223372036854775807",
            "_off-9223372036854775807_wl3_wr3"});
}

TEST_P(AttentionMasks, Sinks) {
  CheckAll({"_sink4", "_wl10_sink4", "_causal_wl10_sink4", "_wl0_wr0_sink1",
            "_causal_wl10_sink64", "_causal_wl10_sink65",
            "_causal_wl0_sink1000", "_off-5_wl7_sink3_causal",
            "_off300_wl7_sink3_causal", "_wl7_sink9223372036854775807",
            "_causal_wl16_sink100"});
}

TEST_P(AttentionMasks, WindowsAcrossASpan) {
  Check("h1_d2_q5_k4200_wl20_sink3");
  Check("h1_d2_q9_k4100_causal_wl4098");
  if (Quick()) return;
  Check("h1_d4_q70_k4150_causal_wl30_sink5");
  Check("h1_d4_q20_k8300_wl4100_wr3");
  Check("h1_d4_q20_k8300_off4096_wl10_wr10_sink4097");
}

TEST_P(AttentionMasks, Softcap) {
  CheckAll({"_cap30", "_cap0.5", "_cap1e-3", "_cap1000", "_causal_cap5",
            "_causal_wl20_sink2_cap5", "_cap30_scale-0.5"});
}

TEST_P(AttentionMasks, Scales) {
  CheckAll({"_scale0.1", "_scale1", "_scale-0.3", "_scale-2", "_scale1e-30",
            "_scale8", "_causal_scale-0.1"});
}

// Masks drawn at random on shapes drawn at random.
TEST_P(AttentionMasks, Random) {
  eval::Random random(20240817);
  const int cases = Quick() ? 12 : 150;
  for (int i = 0; i < cases; ++i) {
    const int64_t kv = 1 + random.Below(2);
    std::string problem = "b" + std::to_string(1 + random.Below(2));
    problem += "_h" + std::to_string(kv * (1 + random.Below(4)));
    problem += "_kv" + std::to_string(kv);
    problem += "_d" + std::to_string(1 + random.Below(20));
    problem += "_dv" + std::to_string(random.Below(20));
    problem += "_q" + std::to_string(random.Below(80));
    problem += "_k" + std::to_string(random.Below(300));
    const auto maybe = [&](const std::string& field, int64_t low,
                           int64_t high) {
      if (random.Below(2) == 0) return;
      problem += field + std::to_string(low + random.Below(high - low));
    };
    if (random.Below(2) == 0) problem += "_causal";
    maybe("_off", -100, 400);
    maybe("_wl", 0, 200);
    maybe("_wr", 0, 100);
    maybe("_sink", 0, 100);
    if (random.Below(4) == 0) problem += "_cap4";
    Check(problem);
  }
}

HEED_ON_EVERY_TARGET(AttentionMasks);

}  // namespace
}  // namespace heed::test
