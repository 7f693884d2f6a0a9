// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One attention call of a comparison: every setting is checked on it, then
// timed.
#ifndef HEED_LIB_EVAL_CALL_RUN_H_
#define HEED_LIB_EVAL_CALL_RUN_H_

#include <vector>

#include "heed/variant.h"
#include "lib/eval/compare.h"
#include "lib/eval/gate.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/tensor_source.h"

namespace heed::eval {

class CallRun {
 public:
  // Computes the truth. Both must stay.
  CallRun(const Layer& layer, const CompareOptions& options);

  LayerInfo Info() const;

  // Runs a setting once with everything recorded, and judges it.
  Measurement Check(const Setting& setting, ScratchPool* scratch);

  // Runs a setting once and measures its errors and mass alone; a gate of
  // kPassed says no more than that it ran.
  Measurement Probe(const Setting& setting, ScratchPool* scratch);

  // Returns seconds a run: one sample of at least the asked duration. Adds them
  // to `phases` by what they were spent on.
  double Time(const Setting& setting, ScratchPool* scratch,
              PhaseSeconds* phases) const;

  // Returns one sentence where the numbers of this call are too large for f32,
  // so that no implementation in it could answer; else "".
  std::string Overflow() const;

 private:
  std::vector<RowRun> MeasuredRows() const;
  VariantArgs MakeArgs(const Setting& setting) const;
  void Measure(const Setting& setting, Measurement* cell) const;

  const Layer& layer_;
  const CompareOptions& options_;
  AttentionArgs args_;
  Judge judge_;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_CALL_RUN_H_
