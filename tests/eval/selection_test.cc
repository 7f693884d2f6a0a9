// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Recorded pairs: merged, cut to the masks, counted, and turned into a mask.
#include "lib/eval/selection.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "lib/eval/scratch_pool.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using eval::KeySet;
using eval::Selection;
using eval::VisibleKeySet;
using io::Problem;

using Pairs = std::vector<std::pair<int, int>>;

Pairs PairsOf(const KeySet& keys) {
  Pairs pairs;
  for (const KeyInterval& interval : keys) {
    pairs.emplace_back(interval.begin, interval.end);
  }
  return pairs;
}

Pairs SeenBy(const char* text, int64_t row) {
  const Problem p = ProblemOf(text);
  return PairsOf(
      VisibleKeySet(p.params, p.shape.seqlen_q, p.shape.seqlen_k, row));
}

TEST(Selection, KnowsTheMasks) {
  EXPECT_EQ(SeenBy("h1_d1_q4_k6", 0), (Pairs{{0, 6}}));
  EXPECT_EQ(SeenBy("h1_d1_q4_k6_causal", 0), (Pairs{{0, 3}}));
  EXPECT_EQ(SeenBy("h1_d1_q4_k6_causal_off0", 0), (Pairs{{0, 1}}));
  EXPECT_EQ(SeenBy("h1_d1_q4_k6_causal_off-1", 0), Pairs{});
  EXPECT_EQ(SeenBy("h1_d1_q9_causal_wl2", 8), (Pairs{{6, 9}}));
  EXPECT_EQ(SeenBy("h1_d1_q9_causal_wl2_sink1", 8), (Pairs{{0, 1}, {6, 9}}));
  EXPECT_EQ(SeenBy("h1_d1_q9_causal_wl2_sink6", 8), (Pairs{{0, 9}}));
  EXPECT_EQ(SeenBy("h1_d1_q9_wl1_wr1", 4), (Pairs{{3, 6}}));
  EXPECT_EQ(SeenBy("h1_d1_q9_causal_sink5", 1), (Pairs{{0, 2}}));
}

TEST(Selection, CountsVisiblePairs) {
  const Problem p = ProblemOf("b2_h3_d1_q4_causal");
  EXPECT_EQ(eval::TotalVisiblePairs(p.shape, p.params),
            2 * 3 * (1 + 2 + 3 + 4));
}

TEST(Selection, MergesAndCutsToTheMask) {
  const Problem p = ProblemOf("h1_d1_q4_causal");
  Selection selection(p.params, p.shape);
  const SelectionRecorder recorder = selection.Recorder();
  recorder.Keep(0, 0, 3, 2, 4);
  recorder.Keep(0, 0, 3, 0, 1);
  recorder.Keep(0, 0, 3, 1, 1);  // empty
  recorder.Keep(0, 0, 3, 3, 4);  // overlaps
  recorder.Keep(0, 0, 1, 0, 4);  // beyond the diagonal
  EXPECT_EQ(selection.Finish(), "");
  EXPECT_EQ(PairsOf(selection.Row(0, 0, 3)), (Pairs{{0, 1}, {2, 4}}));
  EXPECT_EQ(PairsOf(selection.Row(0, 0, 1)), (Pairs{{0, 2}}));
  EXPECT_EQ(PairsOf(selection.Row(0, 0, 0)), Pairs{});
  EXPECT_EQ(selection.KeptPairs(), 5);
  EXPECT_DOUBLE_EQ(selection.Density(), 0.5);
}

TEST(Selection, RefusesWhatLeavesTheTensors) {
  const Problem p = ProblemOf("h1_d1_q4");
  const auto finish = [&p](int64_t query, int64_t begin, int64_t end) {
    Selection selection(p.params, p.shape);
    selection.Recorder().Keep(0, 0, query, begin, end);
    return selection.Finish();
  };
  EXPECT_EQ(finish(3, 0, 4), "");
  EXPECT_NE(finish(4, 0, 4), "");
  EXPECT_NE(finish(-1, 0, 4), "");
  EXPECT_NE(finish(0, 0, 5), "");
  EXPECT_NE(finish(0, -1, 2), "");
  EXPECT_NE(finish(0, 3, 2), "");
  EXPECT_NE(finish(0, 0, int64_t{1} << 32), "");
}

TEST(Selection, IsWholeWhereNothingIsVisible) {
  const Problem p = ProblemOf("h1_d1_q2_k2_causal_off-9");
  Selection selection(p.params, p.shape);
  EXPECT_EQ(selection.Finish(), "");
  EXPECT_EQ(selection.Density(), 1);
}

TEST(Selection, BecomesAMaskOfSomeRows) {
  const Problem p = ProblemOf("b1_h2_d1_q3");
  Selection selection(p.params, p.shape);
  selection.Recorder().Keep(0, 0, 1, 1, 3);
  selection.Recorder().Keep(0, 1, 2, 0, 1);
  ASSERT_EQ(selection.Finish(), "");
  const eval::SelectionMask mask(selection, p.shape, 1, 2);
  const KeyIntervals view = mask.View();
  EXPECT_EQ(view.query_block_size, 1);
  const std::vector<int64_t> offsets(view.offsets,
                                     view.offsets + view.num_offsets);
  EXPECT_EQ(offsets, (std::vector<int64_t>{0, 1, 1, 1, 2}));
  ASSERT_EQ(view.num_intervals, 2);
  EXPECT_EQ(view.intervals[0].begin, 1);
  EXPECT_EQ(view.intervals[1].end, 1);
}

TEST(ScratchPool, CountsAndSettlesOnOneBlock) {
  eval::ScratchPool pool;
  Scratch scratch = pool.Begin();
  float* a = scratch.Array<float>(16);
  float* b = scratch.Array<float>(17);
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b) % 64, 0u);
  EXPECT_NE(scratch.Array<float>(0), nullptr);
  EXPECT_EQ(pool.HighWater(), 64u + 128u + 64u);
  scratch = pool.Begin();
  char* first = scratch.Array<char>(64);
  EXPECT_EQ(scratch.Array<char>(128), first + 64);
  EXPECT_EQ(pool.HighWater(), 256u);
  EXPECT_EQ(scratch.Array<double>(int64_t{1} << 61), nullptr);
  EXPECT_EQ(scratch.Array<double>(-1), nullptr);
}

}  // namespace
}  // namespace heed::test
