// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scans against the page that defines their bits, and that page against the
// recurrence in double and its quadratic form.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lib/oracle/recurrence.h"
#include "tests/linear/scan_case.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

class ScanOnTarget : public OnEveryTarget {};
HEED_ON_EVERY_TARGET(ScanOnTarget);

std::vector<double> Truth(ScanTensors& t, std::vector<double>* state = nullptr,
                          std::vector<double>* sum = nullptr) {
  std::vector<double> out(t.out.size());
  if (state != nullptr) state->resize(t.state.size());
  if (sum != nullptr) sum->resize(t.sum.size());
  oracle::RecurrenceDouble(t.Params(), t.Args(), out.data(),
                           state == nullptr ? nullptr : state->data(),
                           sum == nullptr ? nullptr : sum->data());
  return out;
}

// f32 rounds sums of dim products for each of the tokens that still count.
constexpr double kBound = 5e-6;
constexpr double kBoundOfSolve = 1e-5;

TEST(ScanOracle, RecurrenceEqualsQuadraticForm) {
  for (ScanCase c : ScanCases()) {
    if (c.seqlen > 24 && c.cu_seqlens.empty()) c.seqlen = 24;
    SCOPED_TRACE(c.Text());
    ScanTensors t(c);
    const std::vector<double> want = Truth(t);
    std::vector<double> got(want.size());
    oracle::QuadraticDouble(t.Params(), t.Args(), got.data());
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-11 * (1 + std::fabs(want[i]))) << i;
    }
  }
}

TEST(ScanOracle, BitsAreNearTheRecurrence) {
  for (const ScanCase& c : ScanCases()) {
    if (c.dtype != DType::kF32) continue;
    for (const int64_t chunk : {1, 4, 16, 32}) {
      SCOPED_TRACE(c.Text() + " chunk " + std::to_string(chunk));
      ScanTensors t(c);
      std::vector<double> state, sum;
      const std::vector<double> want = Truth(t, &state, &sum);
      oracle::ScanBits(t.Params(), t.Args(), chunk);
      const double bound = c.erases() ? kBoundOfSolve : kBound;
      EXPECT_LT(RelativeError(t.out, want), bound);
      if (!c.transposed) {
        EXPECT_LT(RelativeError(t.final_state, state), bound);
      }
      if (c.normalise) {
        EXPECT_LT(RelativeError(t.final_sum, sum), bound);
      }
    }
  }
}

TEST_P(ScanOnTarget, HasTheBits) {
  for (const ScanCase& c : ScanCases()) {
    for (const int chunk : {1, 7, 16, 32}) {
      if (Quick() && chunk != 16 && c.seqlen != 77) continue;
      SCOPED_TRACE(c.Text() + " chunk " + std::to_string(chunk));
      ScanTensors want(c), got(c);
      oracle::ScanBits(want.Params(), want.Args(), chunk);
      const Status status =
          RunScanOn({GetParam(), chunk}, got.Params(), got.Args());
      ASSERT_TRUE(status.ok()) << ToString(status);
      if (HasSameBits(GetParam())) {
        ASSERT_TRUE(SameResults(got, want));
      } else if (c.dtype == DType::kF32) {
        EXPECT_LT(RelativeError(got.out, Truth(got)),
                  c.erases() ? kBoundOfSolve : kBound);
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
