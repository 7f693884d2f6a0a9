// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Growth and crossings of curves whose answers are known, and what must hold
// for any curves.
#include "lib/eval/length_sweep.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lib/eval/workload.h"

namespace heed::test {
namespace {

using eval::Crossing;
using eval::FindCrossing;
using eval::GrowthOf;
using eval::LengthCurve;

constexpr double kLengths[] = {256, 512, 1024, 3000, 4096};

// factor * length ^ power.
LengthCurve Power(double factor, double power, double spread = 0) {
  LengthCurve curve;
  for (const double length : kLengths) {
    const double time = factor * std::pow(length, power);
    curve.push_back({length, time, spread * time});
  }
  return curve;
}

TEST(LengthSweep, KnowsPowers) {
  for (const double power : {0.0, 1.0, 1.5, 2.0}) {
    EXPECT_NEAR(GrowthOf(Power(3e-6, power)), power, 1e-12);
  }
  EXPECT_TRUE(std::isnan(GrowthOf({{512, 1, 0}})));
  LengthCurve gap = Power(1, 1);
  gap[1].time = NAN;
  EXPECT_TRUE(std::isnan(GrowthOf(gap)));
}

// 1000 n against n ^ 2: below from 1000 on.
TEST(LengthSweep, FindsWhereCurvesCross) {
  const Crossing crossing = FindCrossing(Power(1000, 1), Power(1, 2));
  EXPECT_NEAR(crossing.length, 1000, 1e-6);
  EXPECT_EQ(crossing.shortest, crossing.length);
  EXPECT_EQ(crossing.longest, crossing.length);
  // 10 % apart on both sides: at 1000 * 0.9 / 1.1, and at 1000 * 1.1 / 0.9.
  const Crossing fuzzy = FindCrossing(Power(1000, 1, 0.1), Power(1, 2, 0.1));
  EXPECT_NEAR(fuzzy.length, 1000, 1e-6);
  EXPECT_NEAR(fuzzy.shortest, 1000 * 0.9 / 1.1, 1e-6);
  EXPECT_NEAR(fuzzy.longest, 1000 * 1.1 / 0.9, 1e-6);
}

TEST(LengthSweep, SaysWhereCurvesDoNotCross) {
  EXPECT_EQ(FindCrossing(Power(1, 1), Power(1, 2)).length, 0);
  EXPECT_EQ(FindCrossing(Power(1e6, 1), Power(1, 2)).length, INFINITY);
  // The same is not below.
  EXPECT_EQ(FindCrossing(Power(1, 2), Power(1, 2)).length, INFINITY);
  LengthCurve gap = Power(1000, 1);
  gap[4].time = NAN;
  EXPECT_TRUE(std::isnan(FindCrossing(gap, Power(1, 2)).length));
  EXPECT_TRUE(std::isnan(FindCrossing({}, {}).length));
}

// Below, above, and below for good: only the last counts.
TEST(LengthSweep, WantsACurveThatStaysBelow) {
  LengthCurve other = Power(1, 1), curve = Power(0.5, 1);
  curve[2].time = 2 * other[2].time;
  const Crossing crossing = FindCrossing(curve, other);
  // Half way between: log 2 above at 1024, log 2 below at 3000.
  EXPECT_NEAR(crossing.length, std::sqrt(1024.0 * 3000.0), 1e-6);
}

TEST(LengthSweep, HoldsForAnyCurves) {
  eval::Random random(5);
  const auto draw = [&random] {
    LengthCurve curve;
    for (const double length : kLengths) {
      curve.push_back({length, static_cast<double>(1 + random.Below(9)),
                       static_cast<double>(random.Below(3)) / 8});
    }
    return curve;
  };
  int inside = 0;
  for (int round = 0; round < 5000; ++round) {
    const LengthCurve curve = draw(), other = draw();
    const Crossing crossing = FindCrossing(curve, other);
    ASSERT_LE(crossing.shortest, crossing.length);
    ASSERT_LE(crossing.length, crossing.longest);
    for (size_t i = 0; i < curve.size(); ++i) {
      if (curve[i].length > crossing.length * (1 + 1e-12)) {
        ASSERT_LT(curve[i].time, other[i].time);
      }
    }
    // Below at the last length: it is found; and never both ways.
    ASSERT_EQ(std::isinf(crossing.length),
              curve.back().time >= other.back().time);
    const Crossing reverse = FindCrossing(other, curve);
    ASSERT_TRUE(std::isinf(crossing.length) || std::isinf(reverse.length));
    // Units of time do not matter.
    LengthCurve scaled = curve, scaled_other = other;
    for (size_t i = 0; i < curve.size(); ++i) {
      scaled[i].time *= 1e-6, scaled[i].spread *= 1e-6;
      scaled_other[i].time *= 1e-6, scaled_other[i].spread *= 1e-6;
    }
    const Crossing again = FindCrossing(scaled, scaled_other);
    if (std::isfinite(crossing.length)) {
      ASSERT_NEAR(again.length, crossing.length, 1e-6 * crossing.length);
      ++inside;
    }
  }
  EXPECT_GT(inside, 1000);
}

}  // namespace
}  // namespace heed::test
