// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The gate: does a variant's result hold what its semantics promises? Nothing
// is said about a variant's speed before.
#ifndef HEED_LIB_EVAL_GATE_H_
#define HEED_LIB_EVAL_GATE_H_

#include <string>

#include "heed/variant.h"
#include "lib/eval/truth.h"

namespace heed::eval {

// Rounding that every implementation is granted on top of twice the error of
// textbook attention in float: this many units of the last place of the largest
// output. The yardstick alone would be 0 where it happens to be exact.
inline constexpr double kGateFloorUlps = 4;

// Rows beyond those with a yardstick of their own may be this much worse.
inline constexpr double kGateOtherRows = 2;

// A variant with its own reference may differ from it by this share of the
// reference's largest output: sums in f32 of thousands of terms in any order.
inline constexpr double kGateReference = 1e-4;

// The largest problem whose reference is computed whole, in multiply-adds of
// plain loops; a larger one is cut to its first tokens.
inline constexpr double kReferenceOperations = 4e8;

struct GateResult {
  bool passed = false;
  // What was compared, or why it did not pass: one sentence without full stop.
  std::string reason;
  double error = 0;  // the largest absolute error seen
  double bound = 0;  // what was allowed
};

// Returns the largest error that is allowed against the truth: twice the
// yardstick plus the floor.
double GateBound(double plain_error, double truth_max);

// Holds a result against a truth with a yardstick, at the truth's rows.
GateResult CheckAgainstTruth(const Truth& truth, const ConstTensorView& out);

// Holds a variant against its own reference: repeats it on (the first tokens
// of) the problem. `run` is what was run on the whole.
GateResult CheckAgainstReference(const Variant& variant,
                                 const VariantArgs& run);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_GATE_H_
