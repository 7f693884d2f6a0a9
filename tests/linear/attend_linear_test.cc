// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What AttendLinear refuses of a variant's gates, with nothing written.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "heed/linear_variant.h"
#include "lib/eval/scratch_pool.h"

namespace heed::test {
namespace {

constexpr int64_t kTokens = 8;
constexpr int64_t kDim = 16;

// Rows 0 to 2 stand before the first key: they see nothing, and become zeros
// where the call is served.
class LinearGates : public ::testing::Test {
 protected:
  LinearGates() {
    host_.scratch = pool_.Begin();
    host_.params.causal = true;
    host_.params.causal_offset = -3;
    const float* rows = rows_.data();
    host_.args.query = host_.args.key = host_.args.value =
        Bshd(rows, 1, kTokens, 1, kDim);
    host_.args.out = Bshd(out_.data(), 1, kTokens, 1, kDim);
    call_.log_decay = Gates(kTokens);
  }

  ConstTensorView Gates(int64_t tokens) const {
    return Bshd(gates_.data(), 1, tokens, 1, 1);
  }
  void ExpectRefused(const char* argument) {
    const Status status = AttendLinear(host_, call_);
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_EQ(std::count(out_.begin(), out_.end(), -77.0f),
              static_cast<int64_t>(out_.size()));
  }

  std::vector<float> rows_ = std::vector<float>(kTokens * kDim, 1.0f);
  std::vector<float> out_ = std::vector<float>(kTokens * kDim, -77.0f);
  std::vector<float> gates_ = std::vector<float>(kTokens + 1, -0.1f);
  eval::ScratchPool pool_;
  VariantArgs host_;
  LinearCall call_;
};

TEST_F(LinearGates, OfTheKeysAreServed) {
  const Status status = AttendLinear(host_, call_);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), 0.0f), 3 * kDim);
}

TEST_F(LinearGates, OfOtherTokensAreRefused) {
  for (const int64_t tokens : {kTokens - 1, kTokens + 1}) {
    call_.log_decay = Gates(tokens);
    ExpectRefused("log_decay");
    call_.log_decay = Gates(kTokens);
    call_.beta = Gates(tokens);
    ExpectRefused("beta");
    call_.beta = {};
  }
}

TEST_F(LinearGates, AboveZeroAreRefused) {
  gates_[2] = 0.5f;
  ExpectRefused("log_decay");
}

}  // namespace
}  // namespace heed::test
