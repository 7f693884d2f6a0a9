// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Time against length: how it grows, and from what length a variant pays.
#ifndef HEED_LIB_EVAL_LENGTH_SWEEP_H_
#define HEED_LIB_EVAL_LENGTH_SWEEP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/eval/compare.h"

namespace heed::eval {

// A time and its spread at a length; NaN where there is none.
struct LengthPoint {
  double length = 0;
  double time = 0;
  double spread = 0;
};

// Points by rising length.
using LengthCurve = std::vector<LengthPoint>;

// Returns the power of the length with which the time grows: the slope of the
// straight line through the logarithms of both that is nearest by least
// squares. NaN for fewer than two points, or where one has no time.
double GrowthOf(const LengthCurve& curve);

// The length from which a curve stays below another. Between two lengths it is
// read off straight lines between the logarithms. 0 where the curve is below
// from the first length on, infinite where it is not below at the last one, NaN
// where a time is missing.
struct Crossing {
  double length;
  // The same with both curves moved apart and together by their spreads: no
  // shorter and no longer length is likely.
  double shortest;
  double longest;
};

// Returns where `curve` comes to be below `other` and stays there. Both have
// the same lengths.
Crossing FindCrossing(const LengthCurve& curve, const LengthCurve& other);

// Comparisons of the same settings at rising lengths, of query and key tokens.
struct LengthSweep {
  std::vector<int64_t> lengths;
  std::vector<CompareResult> results;

  // The times of one setting.
  LengthCurve CurveOf(size_t setting) const;
  // Where the setting's times cross the baseline's; NaN for the baseline.
  Crossing EfficiencyLength(size_t setting) const;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_LENGTH_SWEEP_H_
