// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The gate: does a variant's result hold what its semantics promises? Nothing
// is said about a variant's speed before.
#ifndef HEED_LIB_EVAL_GATE_H_
#define HEED_LIB_EVAL_GATE_H_

#include <limits>
#include <string>
#include <vector>

#include "heed/executor.h"
#include "heed/variant.h"
#include "lib/eval/selection.h"
#include "lib/eval/truth.h"

namespace heed::eval {

// Rounding that every implementation is granted on top of twice the error of
// textbook attention in float: this many units of the last place of the largest
// output. The yardstick alone would be 0 where it happens to be exact.
inline constexpr double kGateFloorUlps = 4;

// Rows beyond those with a yardstick of their own may be this much worse.
inline constexpr double kGateOtherRows = 2;

// And so may all where the yardstick has fewer rows than this: its error is
// then one draw and the variant's another.
inline constexpr int64_t kGateFewRows = 16;

// What lse may be off beyond twice the yardstick's error: a tenth of what the
// kept mass, exp(lse - lse_exact), is shown to.
inline constexpr double kGateLse = 1e-5;

// A variant with its own reference may differ from it by this share of the
// reference's largest output: sums in f32 of thousands of terms in any order.
inline constexpr double kGateReference = 1e-4;

// What an own reference may spend on a problem, in multiply-adds of plain
// loops; beyond it only the yardstick's rows are computed.
inline constexpr double kReferenceOperations = 4e9;

struct GateResult {
  bool passed = false;
  // What was compared, or why it did not pass: one sentence without full stop.
  std::string reason;
  // Kept pairs over visible ones; NaN where nothing says which were kept.
  double density = std::numeric_limits<double>::quiet_NaN();
};

// Judges results of one problem in place: what was run and will be timed is
// what is checked, at all measured rows.
class Judge {
 public:
  // `args` has the outputs that will be judged; both must stay, as must the
  // executor. Rows as by PickRows: errors are measured at `measured`; at
  // `yardstick` textbook attention in float says what rounding may cost.
  Judge(const AttentionParams& params, const AttentionArgs& args,
        std::vector<RowRun> measured, std::vector<RowRun> yardstick,
        const Executor& executor);

  // The exact answer at the measured rows.
  const Truth& truth() const { return exact_.measured; }

  // Judges what `variant` wrote with `run`. `selection` is what it recorded,
  // not yet finished; used by kExactOnSelection only.
  GateResult Check(const Variant& variant, const VariantArgs& run,
                   Selection* selection) const;

 private:
  struct Truths {
    Truth measured, yardstick;
  };
  Truths Compute(const Selection* selection) const;
  GateResult CheckSoftmax(Truths truths, const Selection* selection) const;
  GateResult CheckRows(const Truths& truths) const;
  GateResult CheckOwnReference(const Variant& variant,
                               const VariantArgs& run) const;

  AttentionParams params_;
  AttentionArgs args_;
  std::vector<RowRun> measured_, yardstick_;
  Executor executor_;
  Truths exact_;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_GATE_H_
