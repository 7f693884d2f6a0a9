// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Costs by what was recorded, against counting pair by pair; and the variants'
// formulas against them.
#include "lib/eval/recorded_cost.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>

#include "heed/ops.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/eval/compare_run.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using eval::DefaultSetting;
using eval::RecordedCost;
using eval::Selection;

// Intervals drawn at random, as pairs and to the recorder.
TEST(RecordedCost, CountsPairsAndTouchedKeys) {
  eval::Random random(3);
  for (const char* text :
       {"b2_h4_kv2_d3_dv5_q7_k11_causal", "b1_h6_kv2_d8_q1_k30",
        "b1_h2_d4_q9_k20_causal_wl3_sink2", "b1_h1_d1_q1_k1"}) {
    SCOPED_TRACE(text);
    const io::Problem problem = ProblemOf(text);
    const AttentionShape& shape = problem.shape;
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    Selection selection(problem.params, shape);
    std::set<std::tuple<int64_t, int64_t, int64_t, int64_t>> pairs;
    std::set<std::tuple<int64_t, int64_t, int64_t>> keys;
    for (int64_t i = 0; i < shape.batch * shape.num_heads * shape.seqlen_q;
         ++i) {
      const int64_t row = i % shape.seqlen_q;
      const int64_t head = i / shape.seqlen_q % shape.num_heads;
      const int64_t batch = i / shape.seqlen_q / shape.num_heads;
      for (int64_t n = random.Below(3); n >= 0; --n) {
        const int64_t begin = random.Below(shape.seqlen_k + 1);
        const int64_t end = begin + random.Below(shape.seqlen_k + 1 - begin);
        selection.Recorder().Keep(batch, head, row, begin, end);
        for (int64_t key = begin; key < end; ++key) {
          if (!oracle::Visible(problem.params, tensors.Args(), batch, head, row,
                               key)) {
            continue;
          }
          pairs.emplace(batch, head, row, key);
          keys.emplace(batch, head / (shape.num_heads / shape.num_kv_heads),
                       key);
        }
      }
    }
    ASSERT_EQ(selection.Finish(), "");
    const double dims = static_cast<double>(shape.head_dim + shape.head_dim_v);
    const double rows =
        static_cast<double>(shape.batch * shape.num_heads * shape.seqlen_q);
    const double touched = static_cast<double>(keys.size());
    Cost formula;
    formula.flops = 1e9;  // not what was done
    formula.bytes = 1e9;
    formula.select_flops = 100;
    formula.select_bytes = 1000;
    const Cost cost = RecordedCost(formula, shape, selection);
    EXPECT_EQ(selection.TouchedKeys(), touched);
    EXPECT_EQ(cost.flops, 2 * static_cast<double>(pairs.size()) * dims + 100);
    EXPECT_EQ(cost.bytes, 4 * dims * (rows + touched) + 1000);
    EXPECT_EQ(eval::KeyValueBytes(shape, touched), 4 * dims * touched);
  }
}

// One query over a long cache reads the keys of its window and its sinks: 4
// heads of (1 query row, 1 output row, 132 keys, 132 values) of 64 floats.
TEST(RecordedCost, KnowsThatAWindowLeavesTheCacheAlone) {
  eval::Setting window = DefaultSetting(Real("window_sink"));
  window.knobs = {128, 4};
  const eval::CompareResult result =
      Compare({window}, "b1_h4_d64_q1_k8192_f32_causal");
  const eval::Measurement& exact = result.rows[0].total;
  const eval::Measurement& total = result.rows[1].total;
  EXPECT_EQ(total.cost.bytes, 4 * 64 * 4 * (1 + 1 + 132 + 132));
  EXPECT_EQ(total.cost.bytes, 272384);
  EXPECT_EQ(total.cost.flops, 4 * 132 * 2 * 2 * 64);
  EXPECT_EQ(total.kv_bytes, 4 * 64 * 4 * (132 + 132));
  EXPECT_TRUE(total.recorded);
  EXPECT_EQ(exact.cost.bytes, 16779264);
  EXPECT_FALSE(exact.recorded);
}

// Where masks and knobs say the pairs, the formula is what was recorded.
TEST(RecordedCost, IsTheFormulaOfAStaticPattern) {
  for (const char* text :
       {"b1_h4_kv2_d16_q150_causal", "b2_h2_d8_dv24_q70_k300",
        "b1_h8_kv2_d32_q1_k1500"}) {
    const io::Problem problem = ProblemOf(text);
    const NamedVariant named = Real("window_sink");
    const eval::CompareResult result =
        Compare(eval::DefaultSweep({named}, problem), text);
    for (size_t i = 1; i < result.rows.size(); ++i) {
      SCOPED_TRACE(FormatSetting(result.settings[i]) + " on " + text);
      const Cost formula = named.variant.cost(problem.shape, problem.params,
                                              result.settings[i].knobs.data());
      const Cost& recorded = result.rows[i].total.cost;
      EXPECT_NEAR(formula.flops, recorded.flops, 1e-12 * recorded.flops);
      EXPECT_NEAR(formula.bytes, recorded.bytes, 1e-12 * recorded.bytes);
    }
  }
}

// The formulas of all variants of this build that select keys: what attending
// takes is within a twentieth of the recorded pairs, and the bytes are no fewer
// than recorded and no more than twice; unless the formula gives the most that
// there can be, where data alone say how much is kept. One that says `at_most`
// gives no more than twice the pairs.
TEST(RecordedCost, HoldsTheFormulas) {
  int found = 0, turn = 0;
  for (const NamedVariant& named : eval::AllVariants()) {
    if (named.variant.semantics != Semantics::kExactOnSelection) continue;
    for (const char* text :
         {"b1_h4_kv2_d16_q150_causal", "b2_h2_d8_dv24_q70_k300",
          "b1_h8_kv2_d32_q1_k1500", "b1_h2_kv2_d16_q70_k700_causal"}) {
      // Where tests are to be quick, each variant has one of the problems.
      if (Quick() && turn++ % 5 != 0) continue;
      const io::Problem problem = ProblemOf(text);
      const Cost most = ops::SoftmaxCost(
          problem.shape, ops::VisiblePairs(problem.shape, problem.params),
          ops::VisibleKeyRows(problem.shape, problem.params));
      const eval::CompareResult result =
          Compare(eval::DefaultSweep({named}, problem), text);
      for (size_t i = 1; i < result.rows.size(); ++i) {
        const eval::Setting& setting = result.settings[i];
        SCOPED_TRACE(FormatSetting(setting) + " on " + text);
        const Cost formula = named.variant.cost(problem.shape, problem.params,
                                                setting.knobs.data());
        const eval::Measurement& total = result.rows[i].total;
        if (total.gate == eval::Gate::kRefused) continue;
        ASSERT_TRUE(total.recorded) << total.reason;
        const double flops = formula.flops - formula.select_flops;
        const double kept = total.cost.flops - formula.select_flops;
        EXPECT_GE(flops, 0.95 * kept);
        const double bound = formula.at_most ? 2 : 1.05;
        EXPECT_TRUE(flops <= bound * kept || flops == most.flops)
            << flops << " for " << kept;
        const double bytes = formula.bytes - formula.select_bytes;
        const double touched = total.cost.bytes - formula.select_bytes;
        EXPECT_GE(bytes, touched * (1 - 1e-12));
        EXPECT_TRUE(bytes <= 2 * touched || bytes == most.bytes)
            << bytes << " for " << touched;
        ++found;
      }
    }
  }
  EXPECT_GT(found, 8);
}

}  // namespace
}  // namespace heed::test
