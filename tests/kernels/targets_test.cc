// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The kernel tables: all that this machine must offer are there, so that the
// tests that run on every usable table run on every table there is.
#include "tests/support/targets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/kernels/target_list.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

TEST(Targets, OffersWhatTheCpuHas) {
  const std::vector<std::string> usable = OfferedTargets();
  for (const std::string& expected : ExpectedTargets()) {
    EXPECT_NE(std::find(usable.begin(), usable.end(), expected), usable.end())
        << "the CPU has what table '" << expected
        << "' needs, but the library does not offer it";
  }
}

TEST(Targets, OffersNothingThatTheCpuLacks) {
  const std::vector<std::string> expected = ExpectedTargets();
  for (const std::string& usable : OfferedTargets()) {
    EXPECT_NE(std::find(expected.begin(), expected.end(), usable),
              expected.end())
        << "table '" << usable << "' is offered, but the CPU lacks its needs";
  }
}

TEST(Targets, AreRowsOfTheListInItsOrder) {
  const std::vector<std::string> rows = {
#define HEED_TEXT(name, text, ...) text,
      HEED_TARGETS(HEED_TEXT, HEED_TEXT)
#undef HEED_TEXT
  };
  auto row = rows.begin();
  for (int i = 0; i < NumTargets(); ++i) {
    row = std::find(row, rows.end(), GetTarget(i).name);
    ASSERT_NE(row, rows.end()) << GetTarget(i).name;
    ++row;
  }
}

TEST(Targets, NamesAreUniqueAndExplained) {
  std::set<std::string> names;
  ASSERT_GT(NumTargets(), 0);
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    ASSERT_NE(target.name, nullptr);
    EXPECT_TRUE(names.insert(target.name).second) << target.name;
    ASSERT_NE(target.needs, nullptr);
    ASSERT_NE(target.reason, nullptr);
    EXPECT_NE(std::string(target.reason), "") << target.name;
    if (target.usable) {
      EXPECT_GE(target.vector_bytes, 4) << target.name;
      EXPECT_EQ(target.vector_bytes % 4, 0) << target.name;
    } else {
      EXPECT_EQ(target.vector_bytes, 0) << target.name;
    }
  }
}

TEST(Targets, OnlySse4HasItsOwnBits) {
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    EXPECT_EQ(target.same_bits, std::string(target.name) != "sse4")
        << target.name;
  }
}

TEST(Targets, TheDefaultIsTheBestUsable) {
  // SVE with vectors as short as NEON's is passed over.
  std::string want;
  for (int i = 0; i < NumTargets() && want.empty(); ++i) {
    const TargetInfo target = GetTarget(i);
    const bool sve = std::string(target.name).rfind("sve", 0) == 0;
    if (target.usable && !(sve && target.vector_bytes == 16)) {
      want = target.name;
    }
  }
  EXPECT_EQ(DefaultTarget(), want);
}

TEST(Targets, AreNullOutsideTheList) {
  EXPECT_EQ(GetTarget(-1).name, nullptr);
  EXPECT_EQ(GetTarget(NumTargets()).name, nullptr);
  EXPECT_FALSE(GetTarget(-1).usable);
  EXPECT_FALSE(GetTarget(NumTargets()).usable);
}

TEST(Targets, APlanTakesTheNamedOne) {
  AttentionShape shape = ProblemOf("h1_d8_q4").shape;
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    PlanOptions options;
    options.target = target.name;
    Plan plan;
    const Status status = MakePlan({}, shape, options, &plan);
    if (!target.usable) {
      EXPECT_EQ(status.code(), StatusCode::kUnsupported) << target.name;
      continue;
    }
    ASSERT_TRUE(status.ok()) << ToString(status);
    char text[4096];
    EXPECT_LT(ExplainPlan(plan, text, sizeof(text)), sizeof(text));
    EXPECT_NE(std::string(text).find(target.name), std::string::npos)
        << "the plan's text does not name its table: " << text;
  }
}

TEST(Targets, ExplainPlanCutsToTheCapacity) {
  Plan plan;
  ASSERT_TRUE(
      MakePlan({}, ProblemOf("h4_kv2_d64_q300_causal").shape, {}, &plan).ok());
  const size_t length = ExplainPlan(plan, nullptr, 0);
  ASSERT_GT(length, 20u);
  std::string whole(length + 1, 'x');
  EXPECT_EQ(ExplainPlan(plan, &whole[0], whole.size()), length);
  EXPECT_EQ(whole[length], '\0');
  EXPECT_EQ(whole.find('\0'), length);
  char cut[12];
  std::fill(cut, cut + sizeof(cut), 'x');
  EXPECT_EQ(ExplainPlan(plan, cut, 10), length);
  EXPECT_EQ(std::string(cut), whole.substr(0, 9));
  EXPECT_EQ(cut[10], 'x');
}

}  // namespace
}  // namespace heed::test
