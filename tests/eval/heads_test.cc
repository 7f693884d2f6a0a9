// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Heads by themselves: each against a comparison of that head alone, and their
// order.
#include "lib/eval/heads.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lib/eval/cut_layer.h"
#include "lib/eval/workload.h"
#include "tests/eval/compare_run.h"

namespace heed::test {
namespace {

using eval::CompareResult;
using eval::DefaultSetting;
using eval::HeadRow;
using eval::WorstHeads;

std::vector<eval::Setting> Settings() {
  eval::Setting window = DefaultSetting(Real("window_sink"));
  window.knobs = {9, 2};
  eval::Setting blocks = DefaultSetting(Real("block_topk"));
  blocks.knobs = {8, 3};
  return {DefaultSetting(Real("naive")), window, blocks,
          DefaultSetting(Real("linear_elu"))};
}

// A head's numbers are those of a call that has only this head, where the
// variant chooses by head.
TEST(Heads, AreMeasuredAsIfAlone) {
  const char* const problem = "b2_h4_kv2_d16_q70_causal";
  const CompareResult whole = Compare(Settings(), problem);
  for (int64_t head = 0; head < 4; ++head) {
    eval::TensorSource source = eval::MakeSynthetic(problem, {});
    KeepHeads({{head, head}}, eval::Layout::kBshd, &source.layers[0]);
    const CompareResult alone = CompareOn(source, Settings());
    for (size_t i = 0; i < whole.settings.size(); ++i) {
      SCOPED_TRACE(FormatSetting(whole.settings[i]));
      const eval::HeadMeasurement& lost =
          whole.by_layer[0][i].total.heads[static_cast<size_t>(head)];
      const eval::Measurement& expected = alone.rows[i].total;
      EXPECT_NEAR(lost.rel_l2, expected.rel_l2, 1e-12);
      if (std::isnan(expected.mass_mean)) {
        EXPECT_TRUE(std::isnan(lost.mass_mean));
        EXPECT_TRUE(std::isnan(lost.density));
        continue;
      }
      EXPECT_NEAR(lost.mass_mean, expected.mass_mean, 1e-12);
      EXPECT_NEAR(lost.density, expected.density, 1e-12);
    }
  }
}

TEST(Heads, StandWorstFirst) {
  CompareResult result;
  result.layers.resize(3);
  result.by_layer.assign(3, std::vector<eval::Summary>(1));
  eval::Random random(4);
  for (auto& layer : result.by_layer) {
    for (int h = 0; h < 7; ++h) {
      const double error =
          random.Below(7) == 0 ? NAN : static_cast<double>(random.Below(4));
      layer[0].total.heads.push_back({1, 1, error});
    }
  }
  const std::vector<HeadRow> rows = WorstHeads(result, 0);
  ASSERT_EQ(rows.size(), 21u);
  for (size_t i = 1; i < rows.size(); ++i) {
    const HeadRow &a = rows[i - 1], &b = rows[i];
    const double x = a.lost.rel_l2, y = b.lost.rel_l2;
    ASSERT_TRUE(std::isnan(x) || x >= y);
    const bool same = x == y || (std::isnan(x) && std::isnan(y));
    if (same) {
      ASSERT_LT(a.layer * 7 + a.head, b.layer * 7 + b.head);
    }
    const double own = result.by_layer[b.layer][0].total.heads[b.head].rel_l2;
    ASSERT_TRUE(own == y || std::isnan(own));
  }
}

// A layer that refused a setting has no heads there.
TEST(Heads, AreNotKnownWhereRefused) {
  const CompareResult result = Compare({DefaultSetting(Real("linear_elu"))},
                                       "b1_h2_d8_q40_causal_wl3_sink1");
  EXPECT_EQ(result.rows[1].total.gate, eval::Gate::kRefused);
  EXPECT_TRUE(WorstHeads(result, 1).empty());
  EXPECT_EQ(WorstHeads(result, 0).size(), 2u);
}

}  // namespace
}  // namespace heed::test
