// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Straight lines between logarithms.
#include "lib/eval/length_sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::eval {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool HasTimes(const LengthCurve& curve) {
  return !curve.empty() &&
         std::all_of(curve.begin(), curve.end(),
                     [](const LengthPoint& point) { return point.time > 0; });
}

double SpreadOf(const LengthPoint& point) {
  return std::isnan(point.spread) ? 0 : point.spread;
}

// The logarithm of the ratio of two times, each moved by `side` spreads, the
// one up and the other down. No time falls below a hundredth of itself.
double LogRatio(const LengthPoint& point, const LengthPoint& other,
                double side) {
  const auto moved = [](const LengthPoint& p, double by) {
    return std::max(p.time + by * SpreadOf(p), p.time / 100);
  };
  return std::log(moved(point, side)) - std::log(moved(other, -side));
}

// Where the ratio falls below 1 for good.
double LengthOf(const LengthCurve& curve, const LengthCurve& other,
                double side) {
  size_t i = curve.size();
  while (i > 0 && LogRatio(curve[i - 1], other[i - 1], side) < 0) --i;
  if (i == curve.size()) return kInfinity;
  if (i == 0) return 0;
  const double above = LogRatio(curve[i - 1], other[i - 1], side);
  const double below = LogRatio(curve[i], other[i], side);
  const double share = above / (above - below);
  return std::exp((1 - share) * std::log(curve[i - 1].length) +
                  share * std::log(curve[i].length));
}

}  // namespace

double GrowthOf(const LengthCurve& curve) {
  if (curve.size() < 2 || !HasTimes(curve)) return kNaN;
  const double count = static_cast<double>(curve.size());
  double x = 0, y = 0;  // means
  for (const LengthPoint& point : curve) {
    x += std::log(point.length) / count;
    y += std::log(point.time) / count;
  }
  double xy = 0, xx = 0;
  for (const LengthPoint& point : curve) {
    const double dx = std::log(point.length) - x;
    xy += dx * (std::log(point.time) - y);
    xx += dx * dx;
  }
  return xy / xx;
}

Crossing FindCrossing(const LengthCurve& curve, const LengthCurve& other) {
  if (!HasTimes(curve) || !HasTimes(other)) return {kNaN, kNaN, kNaN};
  return {LengthOf(curve, other, 0), LengthOf(curve, other, -1),
          LengthOf(curve, other, 1)};
}

LengthCurve LengthSweep::CurveOf(size_t setting) const {
  LengthCurve curve;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const Summary& row = results[i].rows[setting];
    curve.push_back(
        {static_cast<double>(lengths[i]), row.median_seconds, row.mad_seconds});
  }
  return curve;
}

Crossing LengthSweep::EfficiencyLength(size_t setting) const {
  const size_t baseline = results[0].baseline;
  if (setting == baseline) return {kNaN, kNaN, kNaN};
  return FindCrossing(CurveOf(setting), CurveOf(baseline));
}

}  // namespace heed::eval
