// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a sweep of lengths shows, computed another way: growth by sums,
// crossings by walking.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/tool/comparison_json.h"

namespace heed::test {
namespace {

// The length where straight lines between logarithms meet for the last time, by
// walking along them in small steps.
double WalkedCrossing(const std::vector<double>& lengths,
                      const std::vector<double>& times,
                      const std::vector<double>& others) {
  constexpr int kSteps = 20000;
  double crossing = 0;  // below from the first length on
  for (size_t i = 0; i + 1 < lengths.size(); ++i) {
    for (int step = 0; step <= kSteps; ++step) {
      const double share = static_cast<double>(step) / kSteps;
      const auto at = [&](const std::vector<double>& values) {
        return std::pow(values[i], 1 - share) * std::pow(values[i + 1], share);
      };
      if (at(times) >= at(others)) crossing = at(lengths);
    }
  }
  return crossing;
}

// The slope by the formula of sums, not of differences from means.
double Slope(const std::vector<double>& lengths,
             const std::vector<double>& times) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const double u = std::log2(lengths[i]), v = std::log2(times[i]);
    n += 1, x += u, y += v, xx += u * u, xy += u * v;
  }
  return (n * xy - x * y) / (n * xx - x * x);
}

TEST(ShownLengths, FollowFromTheSweep) {
  const Json comparison = CompareJson(
      "--repeats 2 --tokens 16-64,100 --layers 2 window_sink:window=8 naive");
  const Json sweep = comparison.at("sweep");
  const std::vector<double> lengths = sweep.at("tokens");
  EXPECT_EQ(lengths, (std::vector<double>{16, 32, 64, 100}));
  const std::vector<double> exact = sweep.at("rows").at(0).at("time");
  for (size_t i = 0; i < 3; ++i) {
    const Json row = sweep.at("rows").at(i);
    SCOPED_TRACE(row.at("name").get<std::string>());
    const std::vector<double> times = row.at("time");
    ASSERT_EQ(times.size(), 4u);
    EXPECT_EQ(row.at("time").at(3), comparison.at("rows").at(i).at("time"));
    EXPECT_NEAR(row.at("growth").get<double>(), Slope(lengths, times), 1e-9);
    if (i == 0) {
      EXPECT_EQ(row.at("efficiency"), "none");
      continue;
    }
    const double walked = WalkedCrossing(lengths, times, exact);
    if (times[3] >= exact[3]) {
      EXPECT_EQ(row.at("efficiency"), "not up to the last length");
      EXPECT_TRUE(row.at("efficiency_length").is_null());
    } else {
      EXPECT_EQ(row.at("efficiency"),
                walked == 0 ? "from the first length on" : "crosses");
      EXPECT_NEAR(row.at("efficiency_length").get<double>(), walked,
                  1e-3 * walked);
    }
  }
}

}  // namespace
}  // namespace heed::test
