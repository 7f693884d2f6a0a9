// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What AttendLinear refuses of a variant's gates, with nothing written.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "heed/linear_state.h"
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

// Runs and references of variants with states of their own share this order.
TEST(InTokenOrder, WritesWhatARowSeesBeforeItIsRead) {
  std::vector<float> numbers(4 * 4);
  VariantArgs host;
  host.args.query = Bshd(static_cast<const float*>(numbers.data()), 1, 4, 4, 1);
  host.args.key = host.args.value =
      Bshd(static_cast<const float*>(numbers.data()), 1, 5, 2, 1);
  const auto order = [&] {
    std::string text;
    InTokenOrder(
        host, 1, [&](int64_t key) { text += " w" + std::to_string(key); },
        [&](int64_t row, int64_t head) {
          text += " r" + std::to_string(row) + "." + std::to_string(head);
        });
    return text;
  };
  EXPECT_EQ(order(), " w0 w1 w2 w3 w4 r0.2 r0.3 r1.2 r1.3 r2.2 r2.3 r3.2 r3.3");
  host.params.causal = true;  // row 0 at key 1
  EXPECT_EQ(order(), " w0 w1 r0.2 r0.3 w2 r1.2 r1.3 w3 r2.2 r2.3 w4 r3.2 r3.3");
  host.params.causal_offset = -2;
  EXPECT_EQ(order(), " r0.2 r0.3 r1.2 r1.3 w0 r2.2 r2.3 w1 r3.2 r3.3");
}

}  // namespace
}  // namespace heed::test
