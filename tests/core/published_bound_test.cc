// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The absolute error that docs/numerics.md publishes for inputs of unit
// variance, on every table.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr double kPublishedBound = 1e-6;  // times the largest |value|

class PublishedBound : public OnEveryTarget {};

TEST_P(PublishedBound, Holds) {
  for (const char* text :
       {"h1_d64_q64", "h2_kv1_d64_q32_k1000", "h1_d7_dv9_q64_k2048",
        "h1_d1024_q8_k300", "h1_d128_q3_k12293", "h1_d64_q100_causal"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    if (Quick() && tensors.problem.shape.seqlen_k > 4096) continue;
    const AttentionArgs args = tensors.Args();
    const Status status =
        RunOn(RunConfig{GetParam()}, tensors.problem.params, args);
    ASSERT_TRUE(status.ok()) << ToString(status);
    const std::vector<float> out = tensors.out.Dense();
    std::vector<double> truth(out.size());
    oracle::AttentionDouble(tensors.problem.params, args, truth.data(),
                            nullptr);
    double largest = 0;
    for (const float v : tensors.value.Dense()) {
      largest = std::max(largest, std::fabs(static_cast<double>(v)));
    }
    double error = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      error = std::max(error, std::fabs(out[i] - truth[i]));
    }
    EXPECT_LT(error, kPublishedBound * largest) << text;
    EXPECT_GT(error, 0.0) << text << ": was anything compared?";
  }
}

HEED_ON_EVERY_TARGET(PublishedBound);

}  // namespace
}  // namespace heed::test
