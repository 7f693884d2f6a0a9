// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Key intervals: any sorted lists, on every table, give the defined bits.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/intervals.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class AttentionIntervals : public OnEveryTarget {
 protected:
  void Check(const std::string& text, const IntervalLists& lists) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors,
                          lists.View());
    checker.Check(RunConfig{GetParam()});
    checker.Check(RunConfig{GetParam(), 2, 3});
  }
};

TEST_P(AttentionIntervals, FullListsAreDense) {
  eval::Random random(1);
  for (const char* text : {"h4_kv2_d16_q50_k150", "b2_h2_d8_q40_k100_causal",
                           "h2_kv1_d4_q10_k4200_causal_wl4100_sink3"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    // Dense truth, without lists.
    const Checker dense(GetParam(), tensors.problem.params, tensors);
    for (const int64_t block : {1, 16, 33, 1000}) {
      for (const int pieces : {1, 4}) {
        const IntervalLists lists =
            FullLists(tensors.problem.shape, block, pieces, random);
        AttentionArgs args = tensors.Args();
        args.key_intervals = lists.View();
        tensors.ClearOutput();
        ASSERT_TRUE(
            RunOn(RunConfig{GetParam()}, tensors.problem.params, args).ok());
        EXPECT_TRUE(dense.Matches(tensors.out, tensors.lse))
            << text << ", query blocks of " << block << ", " << pieces
            << " pieces";
      }
    }
  }
}

TEST_P(AttentionIntervals, RandomLists) {
  eval::Random random(7);
  const int repeats = Quick() ? 1 : 4;
  for (int i = 0; i < repeats; ++i) {
    for (const int64_t block : {1, 5, 16, 64, 100}) {
      for (const char* text :
           {"h4_kv2_d8_q60_k300", "b2_h3_kv1_d8_q33_k200_causal",
            "h2_d8_q70_k260_causal_wl50_sink4", "h1_d8_q20_k300_off100_wl90",
            "h2_d8_q20_k200_cap3"}) {
        const AttentionShape shape = ProblemOf(text).shape;
        SCOPED_TRACE("query blocks of " + std::to_string(block));
        Check(text, RandomLists(shape, block, 3, 100, random));
        Check(text, RandomLists(shape, block, 40, 6, random));
      }
    }
  }
}

// Single tokens, as a top-k over tokens gives them.
TEST_P(AttentionIntervals, SingleKeys) {
  eval::Random random(9);
  for (const char* text : {"h2_d16_q20_k400", "h4_kv1_d16_q9_k400_causal"}) {
    Check(text, RandomLists(ProblemOf(text).shape, 4, 150, 1, random));
    Check(text, RandomLists(ProblemOf(text).shape, 4, 150, 2, random));
  }
}

TEST_P(AttentionIntervals, AcrossSpans) {
  eval::Random random(11);
  for (const char* text : {"h2_kv1_d4_q6_k8300", "h1_d4_q6_k8300_causal"}) {
    Check(text, RandomLists(ProblemOf(text).shape, 2, 60, 200, random));
    if (!Quick()) {
      Check(text, RandomLists(ProblemOf(text).shape, 3, 4, 4000, random));
    }
  }
  // Intervals that end and begin at the span's edge, one key to either side.
  IntervalLists lists;
  lists.query_block_size = 3;
  for (int list = 0; list < 2; ++list) {
    lists.Add(4000, 4095 + list);
    lists.Add(4096, 4097 + list);
    lists.Add(8100, 8192 - list);
    lists.Add(8192, 8193);
    lists.EndList();
  }
  Check("h1_d4_q6_k8300", lists);
}

TEST_P(AttentionIntervals, EmptyListsGiveEmptyRows) {
  IntervalLists lists;
  lists.query_block_size = 8;
  for (int i = 0; i < 2 * 3; ++i) lists.EndList();
  Check("h2_d16_q20_k100", lists);
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h2_d16_q20_k100"), {});
  AttentionArgs args = tensors.Args();
  args.key_intervals = lists.View();
  ASSERT_TRUE(RunOn(RunConfig{GetParam()}, {}, args).ok());
  for (const float value : tensors.out.Dense()) EXPECT_EQ(value, 0.0f);
  for (const float value : tensors.lse.Dense()) EXPECT_EQ(value, -INFINITY);
}

TEST_P(AttentionIntervals, NoKeysAtAll) {
  IntervalLists lists;
  lists.query_block_size = 8;
  for (int i = 0; i < 2 * 3; ++i) lists.EndList();
  Check("h2_d16_q20_k0", lists);
}

// NaN in keys that no list offers.
TEST_P(AttentionIntervals, PoisonBetweenIntervalsIsInert) {
  const io::Problem problem = ProblemOf("h2_kv1_d16_q30_k300_causal");
  IntervalLists lists;
  lists.query_block_size = 30;
  for (int head = 0; head < 2; ++head) {
    lists.Add(3, 5);
    lists.Add(60, 70);
    lists.Add(280, 281);
    lists.EndList();
  }
  const eval::Tensors clean = eval::MakeTensors(problem, {});
  const Checker checker(GetParam(), problem.params, clean, lists.View());
  const eval::Tensors poisoned = eval::MakeTensors(problem, {});
  for (int64_t key = 0; key < 300; ++key) {
    if ((key >= 3 && key < 5) || (key >= 60 && key < 70) || key == 280) {
      continue;
    }
    for (int64_t c = 0; c < 16; ++c) {
      *poisoned.key.At(0, key, 0, c) = NAN;
      *poisoned.value.At(0, key, 0, c) = INFINITY;
    }
  }
  AttentionArgs args = poisoned.Args();
  args.key_intervals = lists.View();
  ASSERT_TRUE(RunOn(RunConfig{GetParam()}, problem.params, args).ok());
  EXPECT_TRUE(checker.Matches(poisoned.out, poisoned.lse));
}

HEED_ON_EVERY_TARGET(AttentionIntervals);

}  // namespace
}  // namespace heed::test
