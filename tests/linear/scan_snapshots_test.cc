// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// States that go back: what is kept, to which bit, and what is refused.
#include "heed/scan_snapshots.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/linear/scan_case.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr int64_t kSlots = 4;

ScanCase Decoding(bool normalise, bool ragged) {
  ScanCase c;
  c.batch = ragged ? 1 : 3;
  c.seqlen = ragged ? 3 : 1;
  c.dim = 24;
  c.dim_v = 20;
  c.decay = Decay::kScalar;
  c.beta = !normalise;
  c.normalise = normalise;
  c.transposed = ragged;
  if (ragged) c.cu_seqlens = {0, 1, 2, 3};
  return c;
}

// A ring and the tokens that pass through it.
class Snapshots : public ::testing::Test {
 protected:
  void Make(const ScanCase& c) {
    case_ = c;
    ScanTensors t(c);
    ASSERT_TRUE(MakeScanPlan(t.Params(), ShapeOf(Token(t)), {}, &plan_).ok());
    memory_ =
        std::make_unique<WorkspaceBuffer>(ScanSnapshotBytes(plan_, kSlots));
    ASSERT_TRUE(MakeScanSnapshots(plan_, kSlots, memory_->get(), &ring_).ok());
  }

  // A call without states.
  static ScanArgs Token(ScanTensors& t) {
    ScanArgs args = t.Args();
    args.initial_state = {};
    args.final_state = {};
    args.initial_sum = {};
    args.final_sum = {};
    return args;
  }

  // Runs token `seed` of every sequence and returns out.
  std::vector<float> Step(uint64_t seed) {
    ScanTensors t(case_, seed);
    const WorkspaceBuffer workspace(ScanWorkspaceBytes(plan_, 1));
    const Status status = RunScanSnapshots(plan_, Token(t), workspace.get(),
                                           SerialExecutor(), &ring_);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return t.out;
  }

  // The numbers of one sequence.
  std::vector<float> Of(int64_t sequence, const std::vector<float>& out) const {
    const size_t row = out.size() / 3;
    const auto at = out.begin() + static_cast<long>(row) * sequence;
    return {at, at + static_cast<long>(row)};
  }

  // What tokens give from an empty state on, without a ring.
  std::vector<float> Direct(const std::vector<uint64_t>& seeds) {
    std::vector<float> out, state, sum;
    for (const uint64_t seed : seeds) {
      ScanCase c = case_;
      c.state = true;
      ScanTensors t(c, seed);
      if (state.empty()) {
        state.assign(t.state.size(), 0.0f);
        sum.assign(t.sum.size(), 0.0f);
      }
      t.state = state;
      t.sum = sum;
      EXPECT_TRUE(RunScanOn({}, t.Params(), t.Args()).ok());
      state = t.final_state;
      sum = t.final_sum;
      out = t.out;
    }
    return out;
  }

  ScanCase case_;
  ScanPlan plan_;
  std::unique_ptr<WorkspaceBuffer> memory_;
  ScanSnapshots ring_;
};

TEST_F(Snapshots, StepsAndRollbacksHaveTheBitsOfStepsAlone) {
  for (const bool normalise : {false, true}) {
    for (const bool ragged : {false, true}) {
      SCOPED_TRACE(normalise * 2 + ragged);
      Make(Decoding(normalise, ragged));
      for (uint64_t seed = 1; seed <= 6; ++seed) Step(seed);
      EXPECT_EQ(TokensSeen(ring_, 1), 6);
      // One sequence goes back by two, one by three; one stays.
      ASSERT_TRUE(RollBack(&ring_, 0, 4).ok());
      ASSERT_TRUE(RollBack(&ring_, 2, 3).ok());
      EXPECT_EQ(TokensSeen(ring_, 0), 4);
      EXPECT_EQ(TokensSeen(ring_, 1), 6);
      const std::vector<float> out = Step(9);
      EXPECT_EQ(TokensSeen(ring_, 0), 5);
      EXPECT_EQ(TokensSeen(ring_, 2), 4);
      EXPECT_TRUE(SameNumbers(Of(0, out), Of(0, Direct({1, 2, 3, 4, 9}))));
      EXPECT_TRUE(
          SameNumbers(Of(1, out), Of(1, Direct({1, 2, 3, 4, 5, 6, 9}))));
      EXPECT_TRUE(SameNumbers(Of(2, out), Of(2, Direct({1, 2, 3, 9}))));
      // And from there again.
      ASSERT_TRUE(RollBack(&ring_, 0, 4).ok());
      EXPECT_TRUE(SameNumbers(Of(0, Step(7)), Of(0, Direct({1, 2, 3, 4, 7}))));
    }
  }
}

TEST_F(Snapshots, ThatDoNotExistAreRefused) {
  Make(Decoding(false, false));
  for (uint64_t seed = 1; seed <= 6; ++seed) Step(seed);
  ASSERT_TRUE(RollBack(&ring_, 0, 5).ok());
  const ScanSnapshots before = ring_;
  const std::vector<int64_t> tokens(ring_.tokens, ring_.tokens + kSlots * 3);
  const struct {
    int64_t sequence, tokens;
    const char* argument;
  } cases[] = {
      {0, 6, "tokens"},  // given up
      {1, 7, "tokens"},  // not yet seen
      {1, 2, "tokens"},  // no longer kept
      {1, -1, "tokens"}, {3, 5, "sequence"}, {-1, 5, "sequence"},
  };
  for (const auto& bad : cases) {
    const Status status = RollBack(&ring_, bad.sequence, bad.tokens);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_STREQ(status.argument(), bad.argument) << ToString(status);
    EXPECT_EQ(ring_.newest, before.newest);
    EXPECT_EQ(tokens,
              std::vector<int64_t>(ring_.tokens, ring_.tokens + kSlots * 3));
  }
  EXPECT_EQ(TokensSeen(ring_, 3), -1);
  ScanSnapshots none;
  EXPECT_STREQ(RollBack(&none, 0, 0).argument(), "snapshots");
}

TEST_F(Snapshots, RefusedCallsLeaveTheRing) {
  Make(Decoding(false, false));
  Step(1);
  const std::vector<float> want = Direct({1, 3});
  const WorkspaceBuffer workspace(ScanWorkspaceBytes(plan_, 1));
  const auto refused = [&](const char* argument, const auto& spoil) {
    ScanTensors t(case_, 2);
    ScanArgs args = Token(t);
    spoil(&t, &args);
    const Status status = RunScanSnapshots(plan_, args, workspace.get(),
                                           SerialExecutor(), &ring_);
    EXPECT_FALSE(status.ok());
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_EQ(TokensSeen(ring_, 0), 1);
  };
  refused("final_state", [](ScanTensors* t, ScanArgs* args) {
    args->final_state = t->Args().final_state;
  });
  refused("beta", [](ScanTensors* t, ScanArgs*) { t->beta[0] = 3; });
  refused("num_sequences",
          [](ScanTensors*, ScanArgs* args) { args->key.extent[0] = 2; });
  // In a place of the ring that the call itself neither reads nor writes.
  refused("out", [&](ScanTensors*, ScanArgs* args) {
    args->out.data = static_cast<char*>(ring_.states.data) +
                     (ring_.newest + 2) % kSlots * 3 * ring_.states.stride[0];
  });
  {
    ScanTensors t(Decoding(true, false), 2);
    ScanPlan normalising;
    ASSERT_TRUE(
        MakeScanPlan(t.Params(), ShapeOf(Token(t)), {}, &normalising).ok());
    const Status status = RunScanSnapshots(
        normalising, Token(t),
        WorkspaceBuffer(ScanWorkspaceBytes(normalising, 1)).get(),
        SerialExecutor(), &ring_);
    EXPECT_STREQ(status.argument(), "snapshots") << ToString(status);
  }
  EXPECT_TRUE(SameNumbers(Step(3), want));

  ScanSnapshots made;
  // So many that their bytes come round to few.
  for (const int64_t slots : {int64_t{1} << 60, INT64_MAX}) {
    EXPECT_EQ(ScanSnapshotBytes(plan_, slots), SIZE_MAX);
    EXPECT_EQ(MakeScanSnapshots(plan_, slots, memory_->get(), &made).code(),
              StatusCode::kOverflow);
  }
  EXPECT_STREQ(MakeScanSnapshots(plan_, 1, memory_->get(), &made).argument(),
               "slots");
  EXPECT_STREQ(
      MakeScanSnapshots(ScanPlan(), 2, memory_->get(), &made).argument(),
      "plan");
  Workspace small = memory_->get();
  small.bytes = ScanSnapshotBytes(plan_, kSlots) - 1;
  EXPECT_EQ(MakeScanSnapshots(plan_, kSlots, small, &made).code(),
            StatusCode::kWorkspace);
  EXPECT_EQ(made.tokens, nullptr);
}

}  // namespace
}  // namespace heed::test
