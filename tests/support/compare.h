// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Compares results: to the bit, or with the double oracle and a bound.
#ifndef HEED_TESTS_SUPPORT_COMPARE_H_
#define HEED_TESTS_SUPPORT_COMPARE_H_

#include <gtest/gtest.h>

#include <vector>

#include "heed/attention.h"
#include "lib/eval/workload.h"

namespace heed::test {

// The bits of a float, one pattern for all NaNs: which NaN an operation gives
// differs between CPUs.
uint32_t CanonicalBits(float value);

// Every element has the same bits (NaN as NaN); names the first that differs.
::testing::AssertionResult SameBits(const eval::Tensor& got,
                                    const eval::Tensor& want);

// Every element still holds the sentinel: nothing was written.
::testing::AssertionResult Untouched(const eval::Tensor& tensor);

// The double oracle's result for some tensors, and what a plain float
// implementation loses against it: computed once, compared with often.
class Truth {
 public:
  Truth(const AttentionParams& params, const AttentionArgs& args);

  // No NaN or infinity where the oracle has none and vice versa, and the
  // largest errors of out and lse are at most twice the plain float
  // implementation's plus a floor, because that implementation may be exact by
  // luck (scores that are whole numbers, weights that are all 1):
  //
  //   out: u * ((8 + s) * V + n/4 * O)
  //   lse: u * (8 + s + n/4 + L)
  //
  // u = 2^-24, the rounding of one operation. s = (1 + sqrt(head_dim)/4) * the
  // largest |score|: what rounding a chain over head_dim typically leaves in a
  // score, so in a weight. n = the longest chain over keys, at most 4096: equal
  // weights round the same way every time. V, O and L are the largest |value|,
  // |out| and |lse|.
  ::testing::AssertionResult Near(const eval::Tensor& out,
                                  const eval::Tensor& lse) const;

  const std::vector<double>& out() const { return out_; }
  const std::vector<double>& lse() const { return lse_; }
  double out_bound() const { return out_bound_; }
  double lse_bound() const { return lse_bound_; }

 private:
  std::vector<double> out_, lse_;
  double out_bound_ = 0, lse_bound_ = 0;
};

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_COMPARE_H_
