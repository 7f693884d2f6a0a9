// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Who computes what, in which order and in how many calls, leaves no trace in
// the bits: workers, executors, lane groups, chunks of queries.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

class AttentionSchedule : public OnEveryTarget {
 protected:
  // Shapes that split by tiles, by heads, by spans, and by more spans than two
  // workers can hold the states of; keys beyond a group of spans, all and only
  // at their ends.
  std::vector<std::string> Problems() const {
    if (Quick()) {
      return {"b2_h3_kv1_d5_q19_k70_causal",
              "h1_d2_q1_k8200",
              "h2_d3_q5_k4100_causal_wl4000_sink3",
              "h1_d2_q1_k70000",
              "h1_d2_q2_k300000_causal_wl900_sink5",
              "h1_d2_q1_k9000_off7_wr600_sink8500"};
    }
    return {"b2_h6_kv2_d16_q150_k150_causal",
            "h1_d4_q1_k12293",
            "h4_kv1_d4_q2_k8195_causal",
            "h2_d4_q30_k4200_causal_wl4000_sink3",
            "h1_d48_q400_k100",
            "h4_kv2_d4_q3_k70000_causal",
            "h1_d2_q1_k300000",
            "h1_d2_q3_k90000_causal_wl70000_sink9000",
            "h1_d4_q40_k65600_causal",
            "h1_d2_q3_k12518_off785_wr6512_sink11142",
            "h1_d2_q1_k140000_off0_wr0_sink140000"};
  }
};

TEST_P(AttentionSchedule, Workers) {
  for (const std::string& text : Problems()) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    for (const int workers : {1, 2, 3, 7}) {
      checker.Check(RunConfig{GetParam(), 0, workers});
    }
  }
}

TEST_P(AttentionSchedule, MoreWorkersThanWork) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf("h1_d4_q2_k3"), {});
  const Checker checker(GetParam(), {}, tensors);
  checker.Check(RunConfig{GetParam(), 0, 40});
  BackwardExecutor huge(10000);
  checker.Check(RunConfig{GetParam()}, huge);
}

TEST_P(AttentionSchedule, LaneGroups) {
  for (const std::string& text : Problems()) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    for (const int lane_groups : {1, 2, 3, 4, 8, 16}) {
      checker.Check(RunConfig{GetParam(), lane_groups, 1});
    }
    checker.Check(RunConfig{GetParam(), 8, 3});
  }
}

// The decode kernel for every number of rows, and for none.
TEST_P(AttentionSchedule, DecodeRows) {
  for (const char* text :
       {"h1_d64_q1_k200", "h5_kv1_d80_q1_k130_causal", "h6_kv2_d33_q2_k257",
        "h7_kv1_d128_dv70_q1_k90", "h8_kv1_d16_q8_k70_causal_wl40_sink2",
        "b2_h2_d7_dv5_q13_k65_cap8", "h3_d256_q9_k64_wl3",
        "h1_d2_q3_k12518_off785_wr6512_sink11142"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    for (const int decode_rows : {0, 64}) {
      checker.Check(RunConfig{GetParam(), 0, 1, decode_rows});
      checker.Check(RunConfig{GetParam(), 0, 3, decode_rows});
    }
  }
}

// Rows beyond whole vectors, which go to the decode kernel where they are few.
TEST_P(AttentionSchedule, RestRows) {
  std::vector<std::string> texts = {"h2_d16_q33_k33",
                                    "h1_d64_q17_k130_causal",
                                    "b2_h3_kv1_d5_q23_k70_off3_wl9_wr2_sink4",
                                    "h2_kv1_d33_dv7_q26_k65_causal_cap5",
                                    "h1_d2_q197_k197_causal_wl20",
                                    "h1_d4_q17_k4100_off4000_wl40_wr40_sink3",
                                    "h1_d4_q19_k40_off-30_causal"};
  if (!Quick()) {
    texts.insert(texts.end(), {"h3_d64_q65_k65_causal", "h2_kv1_d16_q98_k150",
                               "h1_d4_q193_k8200_causal_wl5000_sink9",
                               "h1_d4_q771_k771_causal"});
  }
  for (const std::string& text : texts) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    for (const int decode_rows : {-1, 0, 3, 64}) {
      checker.Check(RunConfig{GetParam(), 0, 1, decode_rows});
      checker.Check(RunConfig{GetParam(), 1, 3, decode_rows});
    }
  }
}

TEST_P(AttentionSchedule, LastTaskFirst) {
  for (const std::string& text : Problems()) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    for (const int workers : {1, 4}) {
      BackwardExecutor backward(workers);
      checker.Check(RunConfig{GetParam()}, backward);
    }
  }
}

TEST_P(AttentionSchedule, SameCallTwiceGivesTheSame) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d16_q70_k4200_causal"), {});
  const RunConfig config{GetParam(), 0, 3};
  ASSERT_TRUE(RunOn(config, tensors.problem.params, tensors.Args()).ok());
  const std::vector<float> first = tensors.out.Dense();
  for (int repeat = 0; repeat < 5; ++repeat) {
    tensors.ClearOutput();
    ASSERT_TRUE(RunOn(config, tensors.problem.params, tensors.Args()).ok());
    EXPECT_EQ(tensors.out.Dense(), first);
  }
}

// Rows [begin, end) of a tensor.
eval::Tensor Rows(const eval::Tensor& tensor, int64_t begin, int64_t end) {
  eval::Tensor rows = tensor;
  rows.view.data = tensor.At(0, begin, 0);
  rows.view.extent[1] = end - begin;
  return rows;
}

// Runs the queries in chunks, each with the keys known so far when `grow`, as a
// server fills its cache.
void CheckChunks(const std::string& target, const std::string& text,
                 int64_t chunk, bool grow) {
  SCOPED_TRACE(text + ", chunks of " + std::to_string(chunk));
  const eval::Tensors all = eval::MakeTensors(ProblemOf(text), {});
  const AttentionParams& params = all.problem.params;
  const Checker checker(target, params, all);
  all.ClearOutput();
  const int64_t seqlen_q = all.query.view.seqlen();
  const int64_t before = all.key.view.seqlen() - seqlen_q;
  for (int64_t begin = 0; begin < seqlen_q; begin += chunk) {
    const int64_t end = std::min(seqlen_q, begin + chunk);
    const int64_t keys = grow ? before + end : all.key.view.seqlen();
    AttentionArgs args;
    args.query = Rows(all.query, begin, end).view;
    args.key = Rows(all.key, 0, keys).view;
    args.value = Rows(all.value, 0, keys).view;
    args.out = Rows(all.out, begin, end).view;
    args.lse = Rows(all.lse, begin, end).view;
    AttentionParams chunk_params = params;
    if (!grow) chunk_params.causal_offset = before + begin;
    ASSERT_TRUE(RunOn(RunConfig{target}, chunk_params, args).ok());
  }
  EXPECT_TRUE(checker.Matches(all.out, all.lse));
}

TEST_P(AttentionSchedule, ChunkedPrefillIsPrefillIsDecode) {
  const std::string shape = Quick() ? "h2_kv1_d6_q40" : "h4_kv2_d16_q150";
  for (const char* mask : {"_causal", "_causal_wl30_sink4"}) {
    for (const int64_t chunk : {1, 16, 37, 64}) {
      CheckChunks(GetParam(), shape + mask, chunk, true);
      CheckChunks(GetParam(), shape + mask, chunk, false);
    }
  }
}

TEST_P(AttentionSchedule, OneQueryAtATimeIsAllAtOnce) {
  CheckChunks(GetParam(), "h6_kv2_d16_q20_k130", 1, false);
  CheckChunks(GetParam(), "h2_d24_q20_k200_wl50_wr3", 1, false);
}

TEST_P(AttentionSchedule, ChunksAcrossASpan) {
  CheckChunks(GetParam(),
              Quick() ? "h1_d2_q9_k4100_causal" : "h2_d4_q50_k4120_causal",
              Quick() ? 4 : 7, true);
}

HEED_ON_EVERY_TARGET(AttentionSchedule);

}  // namespace
}  // namespace heed::test
