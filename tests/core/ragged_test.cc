// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sequences of different lengths in one call: each has the bits of a call of
// its own, whoever stands beside it and however the work is spread.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/heed.h"
#include "tests/support/compare.h"
#include "tests/support/quick.h"
#include "tests/support/ragged_case.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class RaggedTest : public OnEveryTarget {};

// Prompts, chunks of prompts, single tokens, nothing at all.
const std::vector<SequenceLengths> kMixed = {
    {1, 1}, {70, 70}, {1, 133}, {0, 50}, {23, 90},
    {1, 0}, {5, 300}, {0, 0},   {3, 2},  {34, 64}};

TEST_P(RaggedTest, EqualsSingleCalls) {
  for (const char* problem :
       {"h4_kv2_d16_q1_k1_causal", "h3_kv1_d7_dv5_q1_k1",
        "h8_kv1_d33_q1_k1_causal_wl40_sink3", "h2_d64_q1_k1_wl9_wr2_sink4",
        "h6_kv2_d24_q1_k1_cap5_causal"}) {
    for (const bool packed_keys : {false, true}) {
      RaggedLayout layout;
      layout.packed_keys = packed_keys;
      const RaggedCase ragged(problem, kMixed, layout);
      for (const int workers : {1, 3, 8}) ragged.Check(GetParam(), workers);
      ragged.Check(GetParam(), 3, /*barriers=*/false);
    }
  }
}

TEST_P(RaggedTest, OffsetsOfTheirOwn) {
  const std::vector<SequenceLengths> lengths = {
      {9, 40, 0},         {1, 90, 17},
      {20, 20, -5},       {6, 30, kBottomRight},
      {3, 33, INT64_MAX}, {2, 5, INT64_MIN + 1}};
  for (const char* problem :
       {"h2_kv1_d8_q1_k1_causal", "h2_d8_q1_k1_wl7_wr3_sink2"}) {
    const RaggedCase own(problem, lengths, {});
    own.Check(GetParam(), 1);
    own.Check(GetParam(), 3);
    RaggedLayout layout;
    layout.offsets = false;
    const RaggedCase all(problem + std::string("_off3"), lengths, layout);
    all.Check(GetParam(), 2);
  }
}

TEST_P(RaggedTest, BatchesOfRows) {
  RaggedLayout layout;
  layout.packed_rows = false;
  const std::vector<SequenceLengths> lengths = {
      {4, 9}, {4, 70}, {4, 0}, {4, 4}};
  const RaggedCase ragged("h4_kv2_d16_q1_k1_causal", lengths, layout);
  for (const int workers : {1, 3}) ragged.Check(GetParam(), workers);
}

TEST_P(RaggedTest, EveryType) {
  for (const char* types :
       {"bf16", "f16", "bf16_kvi8", "kvu4", "bf16_kve4m3", "kve5m2_rot"}) {
    const std::string problem = std::string("h4_kv2_d32_q1_k1_causal_") + types;
    for (const bool packed_keys : {false, true}) {
      RaggedLayout layout;
      layout.packed_keys = packed_keys;
      const RaggedCase ragged(problem, kMixed, layout);
      ragged.Check(GetParam(), 2);
    }
  }
}

// Keys of several spans and groups of spans beside short ones.
TEST_P(RaggedTest, SpansOverWorkers) {
  std::vector<std::vector<SequenceLengths>> cases = {
      {{1, 9000}, {3, 40}, {2, 4097}},
      {{1, 12293}, {1, 20000}, {60, 60}, {1, 5}}};
  if (!Quick()) {
    cases.push_back({{1, 140000}, {30, 8200}, {1, 300}, {200, 200}});
    cases.push_back({{2, 70000}, {0, 9000}, {1, 66000}});
  }
  for (const auto& lengths : cases) {
    for (const char* problem :
         {"h2_kv1_d2_q1_k1_causal", "h1_d4_q1_k1_causal_wl5000_sink9"}) {
      const RaggedCase ragged(problem, lengths, {});
      for (const int workers : {1, 2, 3, 8}) {
        ragged.Check(GetParam(), workers, true);
        ragged.Check(GetParam(), workers, false);
      }
    }
  }
}

TEST_P(RaggedTest, ManySequences) {
  std::vector<SequenceLengths> lengths;
  for (int64_t i = 0; i < 150; ++i) {
    lengths.push_back({i % 7 == 0 ? i / 3 : i % 2, (i * 37) % 200});
  }
  const RaggedCase ragged("h2_kv1_d8_q1_k1_causal", lengths, {});
  for (const int workers : {1, 3, 8}) ragged.Check(GetParam(), workers);
}

// A sequence alone, and with others before and behind.
TEST_P(RaggedTest, NeighboursLeaveNoTrace) {
  const SequenceLengths one = {5, 77};
  const RaggedCase alone("h2_kv1_d16_q1_k1_causal", {one}, {});
  alone.Check(GetParam(), 1);
  const RaggedCase beside("h2_kv1_d16_q1_k1_causal",
                          {one, {300, 300}, {1, 5000}}, {});
  beside.Check(GetParam(), 3);
  for (int64_t i = 0; i < one.rows; ++i) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t c = 0; c < 16; ++c) {
        EXPECT_EQ(CanonicalBits(*alone.out.At(0, i, h, c)),
                  CanonicalBits(*beside.out.At(0, i, h, c)));
      }
    }
  }
}

TEST(RaggedOneShot, RunsOnDefaults) {
  const RaggedCase ragged("h4_kv2_d16_q1_k1_causal", kMixed, {});
  const Status status = Attention(ragged.params(), ragged.Args());
  ASSERT_TRUE(status.ok()) << ToString(status);
  for (int64_t s = 0; s < ragged.num_sequences(); ++s) {
    const eval::Tensor out = ragged.MakeOut(), lse = ragged.MakeLse();
    const AttentionArgs single = ragged.Single(s, out, lse);
    ASSERT_TRUE(Attention(ragged.SingleParams(s), single).ok());
    for (int64_t i = 0; i < single.out.seqlen(); ++i) {
      const int64_t at = ragged.cu_seqlens_q[static_cast<size_t>(s)] + i;
      EXPECT_EQ(*out.At(0, at, 0), *ragged.out.At(0, at, 0));
    }
  }
}

HEED_ON_EVERY_TARGET(RaggedTest);

}  // namespace
}  // namespace heed::test
