// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Dominance between points whose times have spreads. Along a ring of points
// that beat each other the error could only fall, so it is equal, and then the
// time could only fall: there is no such ring, and some point is not beaten.
#include "lib/eval/frontier.h"

#include <algorithm>
#include <cmath>

namespace heed::eval {
namespace {

double SpreadOf(const TradeOff& point) {
  return std::isnan(point.spread) ? 0 : point.spread;
}

bool Competes(const TradeOff& point) {
  // Written so that a NaN does not compete.
  return point.eligible && !std::isnan(point.time) &&
         point.error < kErrorOfZeros;
}

}  // namespace

double RankedError(double error, double baseline_error) {
  const double rounding = 2 * baseline_error;
  // In this order a NaN error stays NaN.
  return error < rounding ? rounding : error;
}

bool Faster(const TradeOff& a, const TradeOff& b) {
  return a.time + SpreadOf(a) + SpreadOf(b) < b.time;
}

bool Beats(const TradeOff& a, const TradeOff& b) {
  if (a.error > b.error || Faster(b, a)) return false;
  return a.error < b.error || Faster(a, b) || (b.noisy && a.time < b.time);
}

std::vector<bool> ParetoFrontier(const std::vector<TradeOff>& points) {
  std::vector<bool> frontier(points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    frontier[i] =
        Competes(points[i]) &&
        std::none_of(points.begin(), points.end(), [&](const TradeOff& other) {
          return Competes(other) && Beats(other, points[i]);
        });
  }
  return frontier;
}

}  // namespace heed::eval
