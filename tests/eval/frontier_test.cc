// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The frontier: what it must hold for any points, and the cases that it is for.
#include "lib/eval/frontier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/eval/workload.h"

namespace heed::test {
namespace {

using eval::ParetoFrontier;
using eval::TradeOff;

TradeOff Point(double time, double spread, double error, bool noisy = false) {
  return {time, spread, error, noisy, true};
}

TEST(Frontier, IsTheUsualOneWithoutSpreads) {
  TradeOff failed = Point(0, 0, 0);
  failed.eligible = false;
  const std::vector<bool> frontier = ParetoFrontier({
      Point(1, 0, 0.9),  // fastest
      Point(2, 0, 0.5),  // between
      Point(3, 0, 0.6),  // beaten by the second
      Point(4, 0, 0.1),  // most accurate
      Point(4, 0, 0.1),  // its equal: neither beats the other
      failed, Point(NAN, 0, 0), Point(0, 0, NAN),
      Point(1, NAN, 0.95),  // a single round has no spread
  });
  EXPECT_EQ(frontier, (std::vector<bool>{true, true, false, true, true, false,
                                         false, false, false}));
}

TEST(Frontier, LeavesOutWhatZerosWouldBeat) {
  EXPECT_EQ(ParetoFrontier({Point(9, 0, 0.5), Point(1, 0, 1.1),
                            Point(1, 0, 1.0), Point(1, 0, INFINITY)}),
            (std::vector<bool>{true, false, false, false}));
}

// The same bits as exact, at another time that only the machine's disturbance
// made.
TEST(Frontier, SeesNoDifferenceWithinTheSpreads) {
  const TradeOff exact = Point(1, 0.01, 1e-6);
  EXPECT_EQ(ParetoFrontier({exact, Point(0.99, 0.005, 1e-6)}),
            (std::vector<bool>{true, true}));
  EXPECT_EQ(ParetoFrontier({exact, Point(0.98, 0.005, 1e-6)}),
            (std::vector<bool>{false, true}));
  // Slower, and too noisy to say that it is not.
  EXPECT_EQ(ParetoFrontier({exact, Point(2.5, 2, 1e-6, true)}),
            (std::vector<bool>{true, false}));
  // Less accurate and not known to be faster.
  EXPECT_EQ(ParetoFrontier({exact, Point(0.99, 0.005, 0.1)}),
            (std::vector<bool>{true, false}));
}

// Few values, so that ties are common.
std::vector<TradeOff> RandomPoints(eval::Random* random) {
  std::vector<TradeOff> points(static_cast<size_t>(random->Below(12)));
  for (TradeOff& point : points) {
    point.time = static_cast<double>(random->Below(8));
    point.spread = static_cast<double>(random->Below(3)) / 2;
    point.error = static_cast<double>(random->Below(6)) / 4;
    point.noisy = random->Below(3) == 0;
    point.eligible = random->Below(8) != 0;
    if (random->Below(16) == 0) point.error = NAN;
    if (random->Below(16) == 0) point.time = NAN;
  }
  return points;
}

bool Competes(const TradeOff& point) {
  return point.eligible && !std::isnan(point.time) && point.error < 1;
}

TEST(Frontier, HoldsForAnyPoints) {
  eval::Random random(7);
  int held = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::vector<TradeOff> points = RandomPoints(&random);
    const std::vector<bool> frontier = ParetoFrontier(points);
    const bool some = std::any_of(points.begin(), points.end(), Competes);
    // Someone is on it where anyone may be.
    ASSERT_EQ(std::count(frontier.begin(), frontier.end(), true) > 0, some);
    for (size_t i = 0; i < points.size(); ++i) {
      const TradeOff& point = points[i];
      if (frontier[i]) {
        ASSERT_TRUE(Competes(point));
      }
      for (size_t j = 0; j < points.size(); ++j) {
        const TradeOff& other = points[j];
        // Beaten beyond both spreads, or in error at no more time.
        const bool faster =
            other.time + other.spread < point.time - point.spread;
        if (!Competes(other) || !Competes(point)) continue;
        if ((other.error <= point.error && faster) ||
            (other.error < point.error && other.time <= point.time)) {
          ASSERT_FALSE(frontier[i]);
          ++held;
        }
        ASSERT_FALSE(Beats(other, point) && Beats(point, other));
      }
    }
  }
  EXPECT_GT(held, 1000);
}

// Neither the order of points nor a point that does not compete matters.
TEST(Frontier, DoesNotDependOnOrder) {
  eval::Random random(8);
  for (int round = 0; round < 2000; ++round) {
    std::vector<TradeOff> points = RandomPoints(&random);
    std::vector<bool> frontier = ParetoFrontier(points);
    std::reverse(points.begin(), points.end());
    std::reverse(frontier.begin(), frontier.end());
    points.push_back(Point(0, 0, 2));
    frontier.push_back(false);
    ASSERT_EQ(ParetoFrontier(points), frontier);
  }
}

}  // namespace
}  // namespace heed::test
