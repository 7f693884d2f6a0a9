// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Prefixes that sequences share: the bits of the same call without saying so,
// and of the page that defines them; and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/quick.h"
#include "tests/support/ragged_case.h"
#include "tests/support/targets.h"
#include "tests/support/team.h"

namespace heed::test {
namespace {

// How a call is run.
struct How {
  int workers = 1;
  bool barriers = true;
  int lane_groups = 0;
  int decode_rows = -1;
  Numerics numerics = Numerics::kSame;
};

// Makes the sequences of each prefix have the pages of the first of them.
void SharePages(const std::vector<SharedPrefix>& prefixes, int64_t page_size,
                RaggedCase* c) {
  for (const SharedPrefix& prefix : prefixes) {
    const int64_t pages = (prefix.num_keys + page_size - 1) / page_size;
    const auto row = [&](int64_t s) {
      return c->page_table.begin() + s * c->table_stride;
    };
    for (int64_t s = 1; s < prefix.num_sequences; ++s) {
      std::copy_n(row(prefix.first_sequence), pages,
                  row(prefix.first_sequence + s));
    }
  }
}

void RunTo(const std::string& target, const How& how, const RaggedCase& c,
           AttentionArgs args, const eval::Tensor& out,
           const eval::Tensor& lse) {
  args.out = out.view;
  args.lse = lse.view;
  PlanOptions options;
  options.target = target.c_str();
  options.lane_groups = how.lane_groups;
  options.decode_rows = how.decode_rows;
  options.numerics = how.numerics;
  AttentionShape shape = ShapeOf(args);
  shape.seqlen_q = 0;  // of the longest sequence, so that plans are small
  for (size_t s = 0; s + 1 < c.cu_seqlens_q.size(); ++s) {
    shape.seqlen_q = std::max<int64_t>(
        shape.seqlen_q, c.cu_seqlens_q[s + 1] - c.cu_seqlens_q[s]);
  }
  Plan plan;
  Status status = MakePlan(c.params(), shape, options, &plan);
  ASSERT_TRUE(status.ok()) << ToString(status);
  const WorkspaceBuffer buffer(WorkspaceBytes(plan, how.workers));
  AttentionRun run;
  status =
      BeginRun(plan, args, buffer.get(), how.workers, {how.barriers}, &run);
  ASSERT_TRUE(status.ok()) << ToString(status);
  RunByTeam(run, how.workers);
  EXPECT_TRUE(buffer.TailIntact()) << "written behind the workspace";
}

class SharedPrefixTest : public OnEveryTarget {
 protected:
  // Runs the call with the prefixes in many ways; each must have the bits of
  // the call without.
  void Check(const std::string& problem,
             const std::vector<SequenceLengths>& lengths,
             const std::vector<SharedPrefix>& prefixes,
             const std::vector<How>& ways, RaggedLayout layout = {},
             bool defined = true) {
    SCOPED_TRACE(GetParam() + ", " + problem);
    if (layout.page_size == 0) layout.page_size = 16;
    RaggedCase c(problem, lengths, layout);
    SharePages(prefixes, layout.page_size, &c);
    if (layout.pointers) c.PlacePointers();
    const eval::Tensor want = c.MakeOut(), want_lse = c.MakeLse();
    How plain;
    plain.numerics = ways[0].numerics;
    RunTo(GetParam(), plain, c, c.Args(), want, want_lse);
    if (defined && HasSameBits(GetParam())) {
      const eval::Tensor bits = c.MakeOut(), bits_lse = c.MakeLse();
      AttentionArgs args = c.Args();
      args.out = bits.view;
      args.lse = bits_lse.view;
      oracle::AttentionBits(c.params(), args);
      EXPECT_TRUE(SameBits(want, bits)) << "unshared";
      EXPECT_TRUE(SameBits(want_lse, bits_lse)) << "unshared";
    }
    AttentionArgs args = c.Args();
    args.ragged.shared_prefixes = prefixes.data();
    args.ragged.num_shared_prefixes = static_cast<int64_t>(prefixes.size());
    for (const How& how : ways) {
      SCOPED_TRACE("workers " + std::to_string(how.workers) +
                   (how.barriers ? "" : ", no barriers") + ", lane groups " +
                   std::to_string(how.lane_groups) + ", decode rows " +
                   std::to_string(how.decode_rows));
      const eval::Tensor out = c.MakeOut(), lse = c.MakeLse();
      RunTo(GetParam(), how, c, args, out, lse);
      EXPECT_TRUE(SameBits(out, want)) << "out";
      EXPECT_TRUE(SameBits(lse, want_lse)) << "lse";
      EXPECT_TRUE(out.PaddingIntact());
      EXPECT_TRUE(lse.PaddingIntact());
    }
  }
};

const std::vector<How> kWays = {{},
                                {3},
                                {8},
                                {8, false},
                                {1, true, 1, 0},
                                {2, false, 16, 64},
                                {64, true, 0, 3}};

// One span, two, and more of the last; keys of their own from none to a span.
TEST_P(SharedPrefixTest, SingleTokens) {
  const std::vector<SequenceLengths> lengths = {
      {1, 4096}, {1, 4097}, {1, 9000}, {1, 8300}, {1, 8192}, {1, 4100}};
  for (const char* problem :
       {"h2_kv1_d3_q1_k1", "h4_kv2_d2_dv5_q1_k1_causal"}) {
    Check(problem, lengths, {{0, 6, 4096}}, kWays);
    Check(problem, lengths, {{0, 2, 4096}, {2, 3, 8192}}, kWays);
    // Not worth a span; and a page of which only a part is shared.
    Check(problem, lengths, {{0, 6, 4095}}, kWays);
    Check(problem, lengths, {{2, 2, 8200}}, kWays);
  }
}

// Prompts, drafts and sequences without rows among them.
TEST_P(SharedPrefixTest, ManyRows) {
  const std::vector<SequenceLengths> lengths = {
      {1, 5000}, {4, 5004}, {0, 4500}, {2, 4097}, {150, 4700},
      {3, 4300}, {1, 70},   {9, 6000}, {1, 6001}};
  for (const char* problem :
       {"h2_kv1_d3_q1_k1_causal", "h3_kv1_d2_q1_k1_cap5"}) {
    Check(problem, lengths, {{0, 6, 4096}, {7, 2, 5900}}, kWays);
  }
}

// Rows that do not see all of it, windows and sinks.
TEST_P(SharedPrefixTest, RowsThatSeeLess) {
  const std::vector<SequenceLengths> lengths = {
      {2, 9000}, {2, 9000, 5000}, {1, 8500, 4096}, {2, 8600}, {1, 8300, 100}};
  for (const char* problem :
       {"h2_kv1_d2_q1_k1_causal", "h2_kv1_d2_q1_k1_causal_wl8400",
        "h2_kv1_d2_q1_k1_wl9000_wr100_sink5000", "h2_kv1_d2_q1_k1_wr200"}) {
    Check(problem, lengths, {{0, 5, 8192}}, kWays);
  }
}

TEST_P(SharedPrefixTest, TypesAndPages) {
  const std::vector<SequenceLengths> lengths = {
      {1, 4200}, {1, 4096}, {2, 4300}};
  for (const char* types : {"bf16", "kvi8", "kve4m3_rot", "kvu4"}) {
    for (const bool pointers : {false, true}) {
      RaggedLayout layout;
      layout.page_size = pointers ? 64 : 1;
      layout.pointers = pointers;
      Check(std::string("h2_kv1_d32_q1_k1_causal_") + types, lengths,
            {{0, 3, 4096}}, {{}, {3}}, layout);
    }
  }
}

// More than a group of 16 spans.
TEST_P(SharedPrefixTest, Groups) {
  const int32_t spans = Quick() ? 3 : 17;
  const int64_t keys = spans * 4096;
  const std::vector<SequenceLengths> lengths = {
      {1, keys + 1}, {1, keys}, {1, keys + 4200}};
  for (const int32_t shared : {spans - 1, spans}) {
    Check("h1_d1_q1_k1_causal", lengths, {{0, 3, shared * 4096}}, kWays);
  }
  if (Quick()) return;
  // Own keys from the middle of a group over its end.
  Check("h1_d1_q1_k1_causal", {{1, keys}, {1, keys + 9000}},
        {{0, 2, 14 * 4096}}, kWays);
}

// Units have bits of their own, which may not depend on who shares.
TEST_P(SharedPrefixTest, Fast) {
  std::vector<How> ways = kWays;
  for (How& how : ways) {
    how.numerics = Numerics::kFast;
    how.decode_rows = -1;
  }
  const std::vector<SequenceLengths> lengths = {
      {1, 4200}, {1, 4096}, {20, 4300}, {20, 4200}, {1, 4097}, {1, 4200}};
  Check("h2_kv1_d16_q1_k1_causal_bf16", lengths, {{0, 6, 4096}}, ways, {},
        false);
}

// Their own division and denormals among them, as for an out of bf16.
TEST_P(SharedPrefixTest, FastDenormals) {
  const std::vector<SharedPrefix> prefixes = {{0, 2, 4096}};
  RaggedLayout layout;
  layout.page_size = 4096;
  RaggedCase c("h2_kv1_d16_q1_k1_bf16", {{20, 4096}, {20, 4096}}, layout);
  SharePages(prefixes, layout.page_size, &c);
  AttentionArgs args = c.Args();
  const ConstTensorView& value = args.value;
  for (int64_t row = 0; row < 4096; ++row) {
    // As large as the smallest normal numbers, which average to smaller ones.
    char* const at =
        const_cast<char*>(internal::BytesAt(value, c.page_table[0], row, 0));
    for (int64_t i = 0; i < value.head_dim(); ++i) {
      uint16_t bits;
      std::memcpy(&bits, at + 2 * i, 2);
      bits = static_cast<uint16_t>((bits & 0x807f) | 0x0080);
      std::memcpy(at + 2 * i, &bits, 2);
    }
  }
  How how;
  how.numerics = Numerics::kFast;
  const eval::Tensor want = c.MakeOut(), want_lse = c.MakeLse();
  RunTo(GetParam(), how, c, args, want, want_lse);
  args.ragged.shared_prefixes = prefixes.data();
  args.ragged.num_shared_prefixes = 1;
  const eval::Tensor out = c.MakeOut(), lse = c.MakeLse();
  RunTo(GetParam(), how, c, args, out, lse);
  EXPECT_TRUE(SameBits(out, want));
  EXPECT_TRUE(SameBits(lse, want_lse));
}

HEED_ON_EVERY_TARGET(SharedPrefixTest);

// ---- Refusals ---------------------------------------------------------------

struct Spoiled {
  RaggedCase& ragged;
  AttentionArgs& args;
  std::vector<SharedPrefix>& prefixes;
};

std::string Says(const std::function<void(Spoiled)>& spoil,
                 bool pointers = false) {
  RaggedLayout layout;
  layout.page_size = 4;
  layout.pointers = pointers;
  RaggedCase c("h2_d8_q1_k1", {{1, 9}, {2, 9}, {1, 7}, {1, 12}, {1, 8}},
               layout);
  std::vector<SharedPrefix> prefixes = {{0, 3, 7}, {3, 2, 8}};
  SharePages(prefixes, 4, &c);
  if (pointers) c.PlacePointers();
  AttentionArgs args = c.Args();
  args.ragged.shared_prefixes = prefixes.data();
  args.ragged.num_shared_prefixes = 2;
  Plan plan;
  EXPECT_TRUE(MakePlan({}, ShapeOf(args), {}, &plan).ok());
  spoil({c, args, prefixes});
  const WorkspaceBuffer buffer(WorkspaceBytes(plan, 2));
  const Status status = heed::Run(plan, args, buffer.get(), SerialExecutor());
  EXPECT_EQ(Untouched(c.out), !status.ok());
  return ToString(status);
}

TEST(SharedPrefixStatus, Prefixes) {
  EXPECT_EQ(Says([](Spoiled) {}), "ok");
  EXPECT_EQ(Says([](Spoiled s) { s.prefixes[1].first_sequence = 2; }),
            "invalid argument: shared_prefixes[1]: must begin behind the one "
            "before it (got 2, at least 3)");
  EXPECT_EQ(Says([](Spoiled s) { s.prefixes[0].first_sequence = -1; }),
            "invalid argument: shared_prefixes[0]: must begin behind the one "
            "before it (got -1, at least 0)");
  EXPECT_EQ(Says([](Spoiled s) { s.prefixes[0].num_sequences = 0; }),
            "invalid argument: shared_prefixes[0]: must be of at least one "
            "sequence (got 0, at least 1)");
  EXPECT_EQ(Says([](Spoiled s) { s.prefixes[1].num_sequences = INT32_MAX; }),
            "invalid argument: shared_prefixes[1]: has a sequence that the "
            "call does not (got 2147483649, at most 4)");
  EXPECT_EQ(Says([](Spoiled s) { s.prefixes[1].num_keys = -1; }),
            "invalid argument: shared_prefixes[1]: must not have a negative "
            "length (got -1)");
  EXPECT_EQ(Says([](Spoiled s) { s.prefixes[0].num_keys = 8; }),
            "invalid argument: shared_prefixes[0]: is longer than the keys of "
            "a sequence of it (got 8, at most 7)");
  EXPECT_EQ(Says([](Spoiled s) { s.args.ragged.shared_prefixes = nullptr; }),
            "invalid argument: shared_prefixes: are null");
  EXPECT_EQ(Says([](Spoiled s) { s.args.ragged.num_shared_prefixes = 6; }),
            "invalid argument: num_shared_prefixes: must be 0 to the number of "
            "sequences (got 6, at most 5)");
  EXPECT_EQ(Says([](Spoiled s) { s.args.ragged.num_shared_prefixes = -1; }),
            "invalid argument: num_shared_prefixes: must be 0 to the number of "
            "sequences (got -1, at most 5)");
}

TEST(SharedPrefixStatus, Pages) {
  const auto other = [](Spoiled s) {
    // Sequence 2's second page, of which three keys are shared.
    const size_t at = static_cast<size_t>(2 * s.ragged.table_stride + 1);
    s.ragged.page_table[at] = s.ragged.page_table[0];
    if (!s.ragged.pointers[1].empty()) {
      s.ragged.pointers[1][at] = s.ragged.pointers[1][0];
    }
  };
  EXPECT_EQ(Says(other).substr(0, 81),
            "invalid argument: page_table[13]: is not that of the first of its "
            "shared prefix (");
  EXPECT_EQ(Says(other, true),
            "invalid argument: value_pages[13]: is not that of the first of "
            "its shared prefix");
  // An entry that only one of them needs.
  EXPECT_EQ(Says([](Spoiled s) { s.ragged.page_table[2] = 0; }), "ok");
}

TEST(SharedPrefixStatus, PlansAndKeysWithout) {
  RaggedLayout layout;
  layout.page_size = 4;
  for (const bool paged : {true, false}) {
    if (!paged) layout.page_size = 0;
    const RaggedCase c("h2_d8_q1_k1", {{1, 9}, {1, 9}}, layout);
    AttentionArgs args = c.Args();
    const AttentionShape without = ShapeOf(args);
    const SharedPrefix prefix = {0, 2, 4};
    args.ragged.shared_prefixes = &prefix;
    args.ragged.num_shared_prefixes = 1;
    Plan plan;
    ASSERT_TRUE(MakePlan({}, paged ? without : ShapeOf(args), {}, &plan).ok());
    const WorkspaceBuffer buffer(WorkspaceBytes(plan, 1));
    EXPECT_EQ(
        ToString(heed::Run(plan, args, buffer.get(), SerialExecutor())),
        paged ? "invalid argument: shared_prefixes: are given to a plan made "
                "without"
              : "invalid argument: shared_prefixes: need keys in pages");
  }
}

}  // namespace
}  // namespace heed::test
