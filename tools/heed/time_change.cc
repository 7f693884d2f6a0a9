// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A test of medians by their deviations, with Bonferroni's share for each row.
#include "tools/heed/time_change.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace heed::tool {
namespace {

// The deviation of a normal distribution over its median absolute deviation,
// and of its median over that of its mean, in many rounds.
constexpr double kDeviationOverMad = 1.4826;
constexpr double kMedianOverMean = 1.2533;

// By simulation, so that 40 rows of 5 to 31 rounds keep to kFalseAlarms for
// normal, exponential, log-normal and disturbed times.
constexpr double kCaution = 1.15;

// Student's chance of |t| or more, by its finite sums (Abramowitz and Stegun
// 1964, 26.7.3 and 26.7.4).
double StudentTails(double t, int64_t degrees) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const bool odd = degrees % 2 != 0;
  double term = odd ? cosine : 1, sum = 0;
  for (int64_t k = odd ? 3 : 2; k <= degrees; k += 2) {
    sum += term;
    term *=
        cosine * cosine * static_cast<double>(k - 1) / static_cast<double>(k);
  }
  const double inside =
      odd ? 2 / std::numbers::pi * (angle + sine * sum) : sine * sum;
  return std::max(0.0, 1 - inside);
}

}  // namespace

double ChanceOfDifference(const RoundTimes& a, const RoundTimes& b) {
  const double variance =
      (a.mad * a.mad + b.mad * b.mad) / static_cast<double>(a.rounds);
  // Also NaN.
  if (!(variance > 0)) return 1;
  const double deviation =
      kMedianOverMean * kDeviationOverMad * std::sqrt(variance);
  // Beyond these the distribution hardly changes.
  constexpr int64_t kMostDegrees = 1000;
  return StudentTails(std::fabs(a.median - b.median) / deviation / kCaution,
                      std::min(a.rounds - 2, kMostDegrees));
}

bool TimesDiffer(const RoundTimes& a, const RoundTimes& b, int64_t rows) {
  return ChanceOfDifference(a, b) * static_cast<double>(rows) <= kFalseAlarms;
}

}  // namespace heed::tool
