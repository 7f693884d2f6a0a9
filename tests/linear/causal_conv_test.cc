// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The short causal convolution: against double, cut anywhere, packed, in place,
// and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "heed/linear_ops.h"
#include "lib/core/ops_target.h"
#include "tests/linear/scan_case.h"
#include "tests/linear/variant_call.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

using Numbers = std::vector<float>;

struct ConvCase {
  int64_t batch = 2, seqlen = 11, heads = 3, dim = 5;
  int64_t taps = 4;
  bool bias = true, silu = true, state = true;
  std::vector<int32_t> cu_seqlens;

  int64_t sequences() const {
    return cu_seqlens.empty() ? batch
                              : static_cast<int64_t>(cu_seqlens.size()) - 1;
  }
};

class Conv {
 public:
  explicit Conv(const ConvCase& c)
      : case_(c),
        x(Drawn(c.batch * c.seqlen * c.heads * c.dim, 1)),
        weight(Drawn(c.taps * c.heads * c.dim, 2)),
        bias(Drawn(c.heads * c.dim, 3)),
        state(Drawn(c.sequences() * (c.taps - 1) * c.heads * c.dim, 4)),
        out(x.size(), -77.0f),
        final_state(state.size(), -77.0f) {}

  CausalConvArgs Args() {
    const ConvCase& c = case_;
    const float* rows = x.data();
    const float* before = state.data();
    const float* w = weight.data();
    CausalConvArgs args;
    args.x = Bshd(rows, c.batch, c.seqlen, c.heads, c.dim);
    args.out = Bshd(out.data(), c.batch, c.seqlen, c.heads, c.dim);
    args.weight = ops::Dense(w, c.taps, c.heads * c.dim);
    args.bias = c.bias ? bias.data() : nullptr;
    args.silu = c.silu;
    args.final_state =
        Bshd(final_state.data(), c.sequences(), c.taps - 1, c.heads, c.dim);
    if (c.state) {
      args.initial_state =
          Bshd(before, c.sequences(), c.taps - 1, c.heads, c.dim);
    }
    if (!c.cu_seqlens.empty()) {
      args.cu_seqlens = c.cu_seqlens.data();
      args.num_sequences = c.sequences();
    }
    return args;
  }

  // The number of a channel at token t of sequence s.
  double At(int64_t s, int64_t t, int64_t channel) const {
    const int64_t channels = case_.heads * case_.dim;
    if (t >= 0) {
      const int64_t first = case_.cu_seqlens.empty()
                                ? s * case_.seqlen
                                : case_.cu_seqlens[static_cast<size_t>(s)];
      return static_cast<double>(
          x[static_cast<size_t>((first + t) * channels + channel)]);
    }
    if (!case_.state) return 0;
    const int64_t row = s * (case_.taps - 1) + case_.taps - 1 + t;
    return static_cast<double>(
        state[static_cast<size_t>(row * channels + channel)]);
  }

  // Both in double.
  void Truth(std::vector<double>* want, std::vector<double>* want_state) const {
    const int64_t channels = case_.heads * case_.dim;
    for (int64_t s = 0; s < case_.sequences(); ++s) {
      int64_t count = case_.seqlen;
      if (!case_.cu_seqlens.empty()) {
        count = case_.cu_seqlens[static_cast<size_t>(s + 1)] -
                case_.cu_seqlens[static_cast<size_t>(s)];
      }
      for (int64_t t = 0; t < count; ++t) {
        for (int64_t c = 0; c < channels; ++c) {
          double sum = case_.bias
                           ? static_cast<double>(bias[static_cast<size_t>(c)])
                           : 0;
          for (int64_t back = 0; back < case_.taps; ++back) {
            const int64_t tap = case_.taps - 1 - back;
            sum += static_cast<double>(
                       weight[static_cast<size_t>(tap * channels + c)]) *
                   At(s, t - back, c);
          }
          want->push_back(case_.silu ? sum / (1 + std::exp(-sum)) : sum);
        }
      }
      for (int64_t t = count - case_.taps + 1; t < count; ++t) {
        for (int64_t c = 0; c < channels; ++c) {
          want_state->push_back(At(s, t, c));
        }
      }
    }
  }

 private:
  static Numbers Drawn(int64_t n, int which) {
    constexpr Input kRange = {"", "", false, -1.5, 1.5};
    Numbers numbers;
    for (int64_t i = 0; i < n; ++i) {
      numbers.push_back(static_cast<float>(DrawnAt(kRange, which, i, 0, 0, 0)));
    }
    return numbers;
  }

  ConvCase case_;

 public:
  Numbers x, weight, bias, state, out, final_state;
};

std::vector<ConvCase> ConvCases() {
  std::vector<ConvCase> cases;
  for (int64_t taps = 1; taps <= 8; ++taps) {
    for (const bool ragged : {false, true}) {
      ConvCase c;
      c.taps = taps;
      c.bias = taps % 2 == 0;
      c.silu = taps % 3 != 0;
      c.state = taps % 4 != 1;
      if (ragged) {
        c.batch = 1;
        c.seqlen = 23;
        c.cu_seqlens = {0, 2, 2, 14, 23};
      }
      cases.push_back(c);
    }
  }
  return cases;
}

class CausalConvolution : public LinearVariantOnTarget {};
HEED_ON_EVERY_TARGET(CausalConvolution);

TEST_P(CausalConvolution, IsNearDouble) {
  for (const ConvCase& c : ConvCases()) {
    SCOPED_TRACE(c.taps);
    Conv conv(c);
    std::vector<double> want, want_state;
    conv.Truth(&want, &want_state);
    ASSERT_TRUE(CausalConv(conv.Args()).ok());
    EXPECT_LT(ErrorOf(conv.out, want), 5e-7);
    EXPECT_EQ(
        std::vector<double>(conv.final_state.begin(), conv.final_state.end()),
        want_state);
  }
}

TEST(CausalConvBits, AreTheSameOnEveryTableAndForAnyWorkers) {
  for (const ConvCase& c : ConvCases()) {
    Numbers first;
    for (const std::string& target : SameBitsTargets()) {
      ASSERT_TRUE(internal::SetOpsTarget(target.c_str()));
      for (const int workers : {1, 3}) {
        Conv conv(c);
        ThreadExecutor threads(workers);
        ASSERT_TRUE(CausalConv(conv.Args(), threads).ok());
        if (first.empty()) first = conv.out;
        EXPECT_EQ(conv.out, first) << target << " " << workers;
      }
    }
    internal::SetOpsTarget(nullptr);
  }
}

// Token by token, and in two parts, with the state in place.
TEST(CausalConvCuts, LeaveEveryBit) {
  for (ConvCase c : ConvCases()) {
    if (!c.cu_seqlens.empty()) continue;
    for (const int64_t part : {1, 4}) {
      SCOPED_TRACE(std::to_string(c.taps) + " by " + std::to_string(part));
      Conv want(c), got(c);
      ASSERT_TRUE(CausalConv(want.Args()).ok());
      for (int64_t t = 0; t < c.seqlen; t += part) {
        CausalConvArgs args = got.Args();
        const int64_t count = std::min(part, c.seqlen - t);
        args.x = TokensOf(args.x, t, count);
        args.out = TokensOf(args.out, t, count);
        if (t > 0) args.initial_state = args.final_state;
        ASSERT_TRUE(CausalConv(args).ok());
      }
      EXPECT_EQ(got.out, want.out);
      EXPECT_EQ(got.final_state, want.final_state);
    }
  }
}

TEST(CausalConvCalls, TakeWeightsTurned) {
  Conv want{ConvCase()}, got{ConvCase()};
  ASSERT_TRUE(CausalConv(want.Args()).ok());
  Numbers turned;
  for (size_t c = 0; c < 15; ++c) {
    for (size_t j = 0; j < 4; ++j) turned.push_back(got.weight[j * 15 + c]);
  }
  CausalConvArgs args = got.Args();
  const float* w = turned.data();
  args.weight = ops::Transposed(ops::Dense(w, 15, 4));
  ASSERT_TRUE(CausalConv(args).ok());
  EXPECT_EQ(got.out, want.out);
}

TEST(CausalConvCalls, AreRefusedUntouched) {
  const struct {
    const char* what;
    const char* argument;
    std::function<void(Conv*, CausalConvArgs*)> spoil;
  } cases[] = {
      {"no x", "x", [](auto*, auto* a) { a->x = {}; }},
      {"no out", "out", [](auto*, auto* a) { a->out = {}; }},
      {"null x", "x", [](auto*, auto* a) { a->x.data = nullptr; }},
      {"no tap", "weight", [](auto*, auto* a) { a->weight.rows = 0; }},
      {"nine taps", "weight", [](auto*, auto* a) { a->weight.rows = 9; }},
      {"columns", "weight", [](auto*, auto* a) { --a->weight.cols; }},
      {"no weight", "weight", [](auto*, auto* a) { a->weight.data = nullptr; }},
      {"back", "weight", [](auto*, auto* a) { a->weight.row_stride = -15; }},
      {"out's shape", "out", [](auto*, auto* a) { --a->out.extent[1]; }},
      {"state's taps", "initial_state",
       [](auto*, auto* a) { --a->initial_state.extent[1]; }},
      {"state's heads", "final_state",
       [](auto*, auto* a) { --a->final_state.extent[2]; }},
      {"state's sequences", "final_state",
       [](auto*, auto* a) { --a->final_state.extent[0]; }},
      {"bf16", "x", [](auto*, auto* a) { a->x.dtype = DType::kBF16; }},
      {"sequences alone", "num_sequences",
       [](auto*, auto* a) { a->num_sequences = 2; }},
      {"in place", "out",
       [](auto*, auto* a) { a->out.data = const_cast<void*>(a->x.data); }},
      {"state on out", "final_state",
       [](auto*, auto* a) { a->final_state.data = a->out.data; }},
      {"half in place", "final_state",
       [](auto* c, auto* a) {
         a->initial_state.extent[0] = a->final_state.extent[0] = 1;
         a->x.extent[0] = a->out.extent[0] = 1;
         a->initial_state.data = c->final_state.data() + 15;
       }},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.what);
    Conv conv{ConvCase()};
    CausalConvArgs args = conv.Args();
    bad.spoil(&conv, &args);
    const Status status = CausalConv(args);
    EXPECT_FALSE(status.ok());
    EXPECT_STREQ(status.argument(), bad.argument) << ToString(status);
    for (const Numbers* numbers : {&conv.out, &conv.final_state}) {
      EXPECT_EQ(std::count(numbers->begin(), numbers->end(), -77.0f),
                static_cast<int64_t>(numbers->size()));
    }
  }
  const std::vector<int32_t> sums[] = {
      {1, 5, 11}, {0, 7, 6, 11}, {0, 5, 10}, {0, 5, 12}, {0, -1, 11}};
  for (const std::vector<int32_t>& bad : sums) {
    ConvCase c;
    c.batch = 1;
    c.cu_seqlens = bad;
    Conv conv(c);
    EXPECT_STREQ(CausalConv(conv.Args()).argument(), "cu_seqlens");
    EXPECT_EQ(conv.out[0], -77.0f);
  }
  ConvCase packed;
  packed.cu_seqlens = {0, 11};
  EXPECT_STREQ(CausalConv(Conv(packed).Args()).argument(), "x");
}

TEST(CausalConvCalls, WithNothingToDoAreFine) {
  ConvCase c;
  c.batch = 1;
  c.seqlen = 0;
  c.cu_seqlens = {0, 0};
  Conv conv(c);
  ASSERT_TRUE(CausalConv(conv.Args()).ok());
  EXPECT_EQ(conv.final_state, conv.state);
}

}  // namespace
}  // namespace heed::test
