// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How near tables without FMA, and units, must come to double.
#ifndef HEED_TESTS_DIFFERENTIAL_DOUBLE_BOUND_H_
#define HEED_TESTS_DIFFERENTIAL_DOUBLE_BOUND_H_

#include "tests/differential/fuzz_case.h"
#include "tests/differential/fuzz_tensors.h"
#include "tests/support/compare.h"

namespace heed::test {

struct DoubleBound {
  double out, lse;
};

// The bound of Truth, which is what rounding typically leaves, and beside it
// what it may leave at worst: random problems meet that.
DoubleBound BoundOf(const FuzzCase& c, const FuzzTensors& tensors,
                    const Truth& truth);

// The bound of docs/numerics.md for a unit (kFast), and what rounding of scores
// and sums may leave at worst.
DoubleBound UnitBoundOf(const FuzzCase& c, const FuzzTensors& tensors,
                        const Truth& truth);

// Whether double and such a table must agree: not where numbers leave f32 on
// the way or meet weights that only the table cuts to 0.
bool FitForDouble(const FuzzCase& c);

}  // namespace heed::test

#endif  // HEED_TESTS_DIFFERENTIAL_DOUBLE_BOUND_H_
