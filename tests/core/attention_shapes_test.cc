// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every table gives the defined bits on every kind of shape: head dimensions,
// groups, and sequence lengths around tiles, blocks and spans.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class AttentionShapes : public OnEveryTarget {
 protected:
  void Check(const std::string& problem) { CheckProblem(GetParam(), problem); }
};

std::string Number(int64_t n) { return std::to_string(n); }

TEST_P(AttentionShapes, HeadDims) {
  std::vector<int> dims = {1, 7, 64, 80, 96, 128, 192, 256, 576};
  if (!Quick()) {
    dims.insert(dims.end(), {2, 3, 9, 15, 16, 17, 31, 33, 59, 111, 1023, 1024});
  }
  for (const int d : dims) {
    Check("h2_d" + Number(d) + (Quick() ? "_q19_k66" : "_q70_k150"));
    Check("h3_kv1_d" + Number(d) + "_q21_k67_causal");
  }
}

TEST_P(AttentionShapes, UnequalHeadDims) {
  for (const char* dims : {"d64_dv32", "d192_dv128", "d576_dv512", "d7_dv13",
                           "d128_dv1", "d1_dv128", "d16_dv1024", "d40_dv33"}) {
    Check("h2_kv1_" + std::string(dims) + "_q17_k83");
    Check("h2_kv2_" + std::string(dims) + "_q5_k70_causal");
  }
}

TEST_P(AttentionShapes, ValuesOfNoWidthStillGiveLse) {
  Check("h2_d16_dv0_q20_k70");
  Check("h2_d16_dv0_q20_k70_causal");
}

TEST_P(AttentionShapes, Groups) {
  for (const int group : {1, 3, 7, 8, 16}) {
    for (const int kv : {1, 2}) {
      for (const int q :
           Quick() ? std::vector<int>{1, 13} : std::vector<int>{1, 2, 13, 33}) {
        Check("b2_h" + Number(group * kv) + "_kv" + Number(kv) + "_d24_q" +
              Number(q) + "_k77_causal");
      }
    }
  }
}

// Tiles hold 16, 48, 96, 192 ... rows on one table or another.
TEST_P(AttentionShapes, QueryCountsAroundTiles) {
  for (const int edge : {4, 8, 16, 24, 32, 48, 64, 96, 192}) {
    for (const int q : {edge - 1, edge, edge + 1, edge + 5}) {
      if (Quick() && edge > 64) continue;
      Check("h1_d20_q" + Number(q) + "_k65");
    }
  }
}

// Rows of values a multiple of 4 KiB apart, which some tables copy.
TEST_P(AttentionShapes, RowsThatShareCacheSets) {
  eval::WorkloadOptions strided;
  strided.layout = eval::Layout::kBshd;
  for (const char* problem :
       {"h16_d64_q33_k80", "h16_kv16_d7_dv64_q50_k70_causal",
        "h8_d128_q30_k100_wl20_wr3", "h16_d64_q26_k40_cap9_causal"}) {
    CheckProblem(GetParam(), problem, strided);
  }
}

TEST_P(AttentionShapes, KeyCountsAroundBlocks) {
  for (const int edge : {1, 8, 16, 48, 64, 96, 128, 192}) {
    for (const int k : {edge - 1, edge, edge + 1}) {
      Check("h2_d20_q18_k" + Number(k));
      if (!Quick()) Check("h2_kv1_d20_q70_k" + Number(k) + "_causal");
    }
  }
}

// What makes 4096 keys a state of their own shows at one key more or less.
TEST_P(AttentionShapes, KeyCountsAroundSpans) {
  for (const int k : {4095, 4096, 4097, 8191, 8192, 8193, 3 * 4096 + 5}) {
    if (Quick() && k > 4097) continue;
    Check("h1_d4_q3_k" + Number(k));
    if (Quick()) continue;
    Check("h2_kv1_d4_q9_k" + Number(k) + "_causal");
    Check("h1_d4_q40_k" + Number(k) + "_causal_wl100");
  }
}

// Rows of one tile that end in different spans.
TEST_P(AttentionShapes, CausalRowsAcrossASpan) {
  Check(Quick() ? "h1_d2_q10_k4101_causal" : "h1_d4_q200_k4196_causal");
  Check(Quick() ? "h1_d2_q10_k100_causal_off4090"
                : "h2_d4_q60_k8300_causal_off4060");
}

TEST_P(AttentionShapes, EmptyExtents) {
  for (const char* problem :
       {"b0_h2_d8_q5_k5", "h0_kv1_d8_q5_k5", "h2_d8_q0_k5", "h2_d8_q5_k0",
        "h2_d8_q0_k0", "h2_d8_q5_k0_causal", "h2_d8_dv0_q5_k0",
        "h2_d8_q5_k0_wl3_wr0_sink2_cap2"}) {
    Check(problem);
  }
}

TEST_P(AttentionShapes, OneOfEverything) { Check("h1_d1_q1_k1"); }

TEST_P(AttentionShapes, DecodeShapes) {
  for (const char* problem : {"h1_d64_q1_k300", "h8_kv1_d64_q1_k300",
                              "h8_kv8_d64_q1_k300", "b3_h4_kv2_d80_q2_k200"}) {
    Check(problem);
  }
}

HEED_ON_EVERY_TARGET(AttentionShapes);

}  // namespace
}  // namespace heed::test
