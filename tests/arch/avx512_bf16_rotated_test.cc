// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The unit multiplies queries as they are stored and does not turn rows of out:
// rotated keys and values of bf16 go to the f32 kernel.
#include <gtest/gtest.h>

#include <string>

#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/arch/unit.h"
#include "tests/support/compare.h"

namespace heed::test {
namespace {

io::Problem RotatedProblem(bool key, bool value) {
  io::Problem problem = ProblemOf("h2_kv1_d24_q40_k131_causal_bf16");
  problem.shape.key_rotated = key;
  problem.shape.value_rotated = value;
  return problem;
}

class Avx512Bf16Rotated
    : public UnitTest,
      public ::testing::WithParamInterface<std::pair<bool, bool>> {
 protected:
  io::Problem problem_ = RotatedProblem(GetParam().first, GetParam().second);
};

TEST_P(Avx512Bf16Rotated, BitsAreThoseOfSame) {
  const eval::Tensors want = eval::MakeTensors(problem_, {});
  oracle::AttentionBits(problem_.params, want.Args());
  const eval::Tensors got = eval::MakeTensors(problem_, {});
  RunConfig config = OnUnit();
  config.unit = nullptr;  // where it pays, it is taken for rows as they are
  const Status status = RunOn(config, problem_.params, got.Args());
  ASSERT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(SameBits(got.out, want.out));
  EXPECT_TRUE(SameBits(got.lse, want.lse));
}

TEST_P(Avx512Bf16Rotated, NamingTheUnitIsRefused) {
  const eval::Tensors tensors = eval::MakeTensors(problem_, {});
  const Status status = RunOn(OnUnit(), problem_.params, tensors.Args());
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_EQ(std::string(status.message()), "does not serve rotated rows");
}

INSTANTIATE_TEST_SUITE_P(Of, Avx512Bf16Rotated,
                         ::testing::Values(std::pair(true, false),
                                           std::pair(false, true),
                                           std::pair(true, true)));

}  // namespace
}  // namespace heed::test
