// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Budgets: the search by itself, and what it finds on variants by trying all.
#include "lib/eval/budget_search.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/sparse_variant.h"
#include "lib/eval/workload.h"
#include "lib/io/input_error.h"
#include "tests/eval/compare_run.h"

namespace heed::test {
namespace {

using eval::DefaultSetting;
using eval::ParseQuality;
using eval::Quality;
using eval::SmallestReaching;

TEST(BudgetSearch, FindsTheSmallestOfRisingOnes) {
  for (int64_t low = 0; low < 4; ++low) {
    for (int64_t high = low; high < 40; ++high) {
      for (int64_t first = low; first <= high + 1; ++first) {
        int asked = 0;
        const int64_t found = SmallestReaching(low, high, [&](int64_t number) {
          EXPECT_GE(number, low);
          EXPECT_LE(number, high);
          ++asked;
          return number >= first;
        });
        ASSERT_EQ(found, first);
        ASSERT_LE(asked, 2 + 6);
      }
    }
  }
}

// Where reaching comes and goes, what is found reaches and the one before does
// not.
TEST(BudgetSearch, FindsAnEdgeOfAny) {
  eval::Random random(9);
  for (int round = 0; round < 3000; ++round) {
    std::vector<bool> reaches(static_cast<size_t>(1 + random.Below(30)));
    for (size_t i = 0; i < reaches.size(); ++i) {
      reaches[i] = random.Below(2) == 1;
    }
    const auto ask = [&](int64_t number) {
      return static_cast<bool>(reaches[static_cast<size_t>(number)]);
    };
    const int64_t last = static_cast<int64_t>(reaches.size()) - 1;
    const int64_t found = SmallestReaching(0, last, ask);
    if (!ask(last)) {
      ASSERT_EQ(found, last + 1);
      continue;
    }
    ASSERT_TRUE(ask(found));
    ASSERT_TRUE(found == 0 || !ask(found - 1));
  }
}

TEST(BudgetSearch, ReadsQualities) {
  EXPECT_EQ(FormatQuality(ParseQuality("mass=0.95")), "mass=0.95");
  EXPECT_EQ(FormatQuality(ParseQuality("rel_l2=1e-2")), "rel_l2=0.01");
  for (const char* bad :
       {"", "mass", "mass=", "mass=1", "mass=0", "mass=-1", "mass=nan",
        "mass=x", "mass=0.9x", "rel_l2=0", "rel_l2=inf", "cosine=0.9", "=0.5",
        "mass=0.5=0.5", " mass=0.5"}) {
    EXPECT_THROW(ParseQuality(bad), io::InputError) << bad;
  }
}

// Every budget of every setting is tried; the first that reaches is the one.
TEST(BudgetSearch, FindsWhatTryingAllFinds) {
  const eval::TensorSource source =
      eval::MakeSynthetic("b1_h2_d8_q60_causal", {});
  eval::Setting blocks = DefaultSetting(Real("block_topk"));
  blocks.knobs = {6, 1};
  const std::vector<eval::Setting> settings = {
      DefaultSetting(Real("window_sink")), blocks,
      DefaultSetting(Real("linear_elu"))};
  for (const char* text : {"mass=0.5", "mass=0.95", "rel_l2=0.3"}) {
    SCOPED_TRACE(text);
    const Quality quality = ParseQuality(text);
    const eval::BudgetSearch found =
        SearchBudgets(source, settings, quality, {}, nullptr);
    ASSERT_EQ(found.settings.size(), 3u);
    EXPECT_TRUE(found.missed.empty());
    EXPECT_EQ(FormatSetting(found.settings[2]), FormatSetting(settings[2]));
    for (size_t i = 0; i < 2; ++i) {
      eval::Setting tried = settings[i];
      const size_t knob = i == 0 ? 0 : 1;
      for (tried.knobs[knob] = 1;; ++tried.knobs[knob]) {
        ASSERT_LE(tried.knobs[knob], 61);
        const eval::Measurement total =
            CompareOn(source, {tried}).rows[1].total;
        if (quality.mass ? total.mass_mean >= quality.value
                         : total.rel_l2 <= quality.value) {
          break;
        }
      }
      EXPECT_EQ(FormatSetting(found.settings[i]), FormatSetting(tried));
    }
  }
}

// Rounding alone is more than that.
TEST(BudgetSearch, SaysWhatNoBudgetReaches) {
  const eval::TensorSource source =
      eval::MakeSynthetic("b1_h2_d8_q40_causal_wl3_sink1", {});
  const eval::BudgetSearch found =
      SearchBudgets(source, {DefaultSetting(Real("window_sink"))},
                    ParseQuality("rel_l2=1e-12"), {}, nullptr);
  EXPECT_TRUE(found.settings.empty());
  ASSERT_EQ(found.missed.size(), 1u);
}

// Every stride-th key: 1 keeps everything, and more keeps less.
Status AttendEveryNth(const VariantArgs& a) {
  return sparse::AttendPattern(
      a, patterns::EveryNth(static_cast<int64_t>(a.knobs[0])));
}

constexpr Knob kStride = {.name = "stride",
                          .summary = "Distance from key to key.",
                          .default_value = 4,
                          .min = 1,
                          .max = sparse::kAll,
                          .integer = true,
                          .has_exact = true,
                          .exact_value = 1};

// The least is far from the exact value, and farther than there are keys.
TEST(BudgetSearch, SearchesKnobsThatFall) {
  eval::Setting every_nth = Broken("strided", AttendEveryNth);
  every_nth.variant.variant.knobs = &kStride;
  every_nth.variant.variant.cost = nullptr;
  const eval::TensorSource source =
      eval::MakeSynthetic("b1_h2_d8_q40_causal", {});
  const Quality quality = ParseQuality("mass=0.4");
  const eval::BudgetSearch found =
      SearchBudgets(source, {every_nth}, quality, {}, nullptr);
  ASSERT_EQ(found.settings.size(), 1u);
  eval::Setting tried = every_nth;
  const auto mass = [&](double stride) {
    tried.knobs[0] = stride;
    return CompareOn(source, {tried}).rows[1].total.mass_mean;
  };
  const double stride = found.settings[0].knobs[0];
  EXPECT_GT(stride, 1);
  EXPECT_GE(mass(stride), quality.value);
  EXPECT_LT(mass(stride + 1), quality.value);
}

// Both a short and a long stride keep everything.
TEST(BudgetSearch, LeavesWhatKeepsMuchAtBothEnds) {
  const std::vector<eval::Setting> settings = {DefaultSetting(Real("strided"))};
  const eval::BudgetSearch found =
      SearchBudgets(eval::MakeSynthetic("b1_h2_d8_q200_causal", {}), settings,
                    ParseQuality("mass=0.5"), {}, nullptr);
  ASSERT_EQ(found.settings.size(), 1u);
  EXPECT_EQ(FormatSetting(found.settings[0]), FormatSetting(settings[0]));
}

}  // namespace
}  // namespace heed::test
