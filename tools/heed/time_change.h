// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Whether two runs' times of a row differ by more than their rounds do.
#ifndef HEED_TOOLS_HEED_TIME_CHANGE_H_
#define HEED_TOOLS_HEED_TIME_CHANGE_H_

#include <cstdint>

namespace heed::tool {

// Times of fewer rounds are not compared: of these, chance says too much.
inline constexpr int64_t kFewestRounds = 5;

// The share of comparisons of runs with equal times in which some row may be
// told as changed.
inline constexpr double kFalseAlarms = 0.05;

// Of so many rounds, in seconds.
struct RoundTimes {
  double median = 0, mad = 0;
  int64_t rounds = 0;
};

// Returns about the chance that medians of rounds of one distribution lie so
// far apart; 1 where neither side has a spread. Both must have as many rounds,
// kFewestRounds or more. The difference, over what the spreads say that it
// varies by, is held to Student's distribution with two degrees of freedom less
// than there are rounds: spreads of few rounds are sometimes far too small.
double ChanceOfDifference(const RoundTimes& a, const RoundTimes& b);

// Returns whether the times changed, as one of `rows` rows that are compared.
bool TimesDiffer(const RoundTimes& a, const RoundTimes& b, int64_t rows);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_TIME_CHANGE_H_
