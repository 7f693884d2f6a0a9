// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The check that most tests are made of: a table's result against the truth
// that it is held to.
#ifndef HEED_TESTS_SUPPORT_CHECK_H_
#define HEED_TESTS_SUPPORT_CHECK_H_

#include <memory>
#include <string>
#include <vector>

#include "heed/attention.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"

namespace heed::test {

// Inputs and their truth for one table: the page that defines the bits where
// the table has FMA, the double oracle with a bound where it has not.
class Checker {
 public:
  Checker(const std::string& target, const AttentionParams& params,
          const eval::Tensors& tensors,
          const KeyIntervals& key_intervals = KeyIntervals());

  // Compares `out` and `lse` with the truth.
  ::testing::AssertionResult Matches(const eval::Tensor& out,
                                     const eval::Tensor& lse) const;

  // Clears the tensors' outputs, runs them and compares; also that nothing
  // between rows was written, and that lse may be left out.
  void Check(const RunConfig& config) const;
  void Check() const { Check(RunConfig{target_}); }
  void Check(const RunConfig& config, const Executor& executor) const;

 private:
  void CheckWithoutLse(const RunConfig& config, const Executor& executor) const;
  AttentionArgs Args() const;

  std::string target_;
  AttentionParams params_;
  eval::Tensors tensors_;
  KeyIntervals key_intervals_;
  eval::Tensor want_out_, want_lse_;
  std::unique_ptr<Truth> truth_;
};

// Makes the problem's tensors and checks them once, on a schedule that follows
// from the problem, so that a grid of shapes also meets all schedules.
void CheckProblem(const std::string& target, const std::string& problem,
                  const eval::WorkloadOptions& options = {});

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_CHECK_H_
