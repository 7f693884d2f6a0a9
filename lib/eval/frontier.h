// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which of many results are worth choosing: those that no other beats.
#ifndef HEED_LIB_EVAL_FRONTIER_H_
#define HEED_LIB_EVAL_FRONTIER_H_

#include <vector>

namespace heed::eval {

// A result at this error or beyond is no nearer to the truth than zeros are.
inline constexpr double kErrorOfZeros = 1;

// One point of a trade-off: less is better in time and in error.
struct TradeOff {
  double time = 0;
  double spread = 0;  // of the time, to both sides; NaN counts as 0
  double error = 0;   // relative
  // The spread is so large that a tie within it is not enough.
  bool noisy = false;
  bool eligible = false;  // only points that passed their gate compete
};

// Returns the error by which a row is ranked: those up to twice the baseline's
// are the same, as among exact variants they are rounding. NaN stays NaN.
double RankedError(double error, double baseline_error);

// Returns whether `a` is known to take less time: by more than both spreads.
bool Faster(const TradeOff& a, const TradeOff& b);

// Returns whether `a` beats `b`: it is nowhere known to be worse and somewhere
// known to be better. A noisy b is beaten by an equal error at less time, too.
bool Beats(const TradeOff& a, const TradeOff& b);

// Returns for each point whether it is on the frontier: eligible, both numbers
// present, its error below that of zeros, and no other such point beats it.
// Where there is such a point, one of them is on the frontier.
std::vector<bool> ParetoFrontier(const std::vector<TradeOff>& points);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_FRONTIER_H_
