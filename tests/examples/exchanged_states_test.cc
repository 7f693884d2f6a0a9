// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Decoding, chunks and prompts by states: however keys are spread over ranks,
// the bits of one process's ragged call.
#include "examples/context_parallel/exchanged_states.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "examples/context_parallel/spread.h"
#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/examples/step.h"
#include "tests/support/compare.h"
#include "tests/support/quick.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

using namespace context_parallel;

// The keys of a rank, one after the other in memory of their own.
eval::Tensor OwnKeys(const TensorView& keys, const KeySpread& spread,
                     int rank) {
  int64_t count = 0;
  std::vector<KeyBlock> own;
  for (const KeyBlock& block : BlocksOf(spread, keys.seqlen())) {
    if (block.rank != rank) continue;
    EXPECT_EQ(block.first_own, count);
    count += block.keys.count();
    own.push_back(block);
  }
  const eval::Tensor tensor = eval::MakeTensor(
      1, count, keys.heads(), keys.head_dim(), eval::Layout::kBshd);
  for (const KeyBlock& block : own) {
    CopyRows(TokensOf(keys, block.keys.begin, block.keys.count()),
             TokensOf(tensor.view, block.first_own, block.keys.count()));
  }
  return tensor;
}

// What a rank sends.
Status RankStates(const Step& step, const StateExchange& exchange, int rank,
                  std::vector<float>* send) {
  std::vector<eval::Tensor> memory;
  std::vector<SequencePart> parts;
  for (size_t s = 0; s < step.sizes.size(); ++s) {
    SequencePart part;
    part.query = step.Rows(step.query.view, s);
    for (const auto& [view, all] :
         {std::pair(&part.key, step.key), {&part.value, step.value}}) {
      memory.push_back(OwnKeys(step.Keys(all.view, s), exchange.spread, rank));
      *view = memory.back().view;
    }
    parts.push_back(part);
  }
  return ComputeStates(exchange, rank, step.params, parts,
                       ThreadExecutor(rank % 2 + 1), send->data());
}

void CheckStates(const Step& step, const KeySpread& spread) {
  const int ranks = spread.ranks;
  const StateExchange exchange = {spread, step.num_heads, step.head_dim_v,
                                  step.sizes};
  const auto count = [&](int from, int to) {
    return exchange.Floats(from, to);
  };
  std::vector<std::vector<float>> sent;
  for (int rank = 0; rank < ranks; ++rank) {
    sent.push_back(Floats(SentBy(rank, ranks, count)));
    const Status status = RankStates(step, exchange, rank, &sent.back());
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<TensorView> out;
    for (size_t s = 0; s < step.sizes.size(); ++s) {
      out.push_back(HeadsOf(step.Rows(step.got.view, s), exchange.Heads(rank)));
    }
    const Status status =
        MergeStates(exchange, rank, Received(sent, rank, count).data(), out);
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
  step.ExpectSame();
}

void CheckSpreads(Step* step) {
  int64_t most_keys = 0;
  for (const SequenceSize& size : step->sizes) {
    most_keys = std::max(most_keys, size.num_keys);
  }
  ForEachMask(step, [&] {
    for (const int ranks : RankCounts()) {
      SCOPED_TRACE("ranks " + std::to_string(ranks));
      CheckStates(*step, Contiguous(ranks, most_keys));
      CheckStates(*step, SpanCyclic(ranks));
    }
  });
}

TEST(ExchangedStates, Prefill) {
  const int64_t tokens = Quick() ? 4500 : 8500;
  Step step({{tokens, tokens}}, 1);
  CheckSpreads(&step);
}

// More spans than ranks, and a prompt whose chunks end within one, at its end
// and just behind it.
TEST(ExchangedStates, Chunks) {
  for (const int64_t keys : {4097, 12288, 37000}) {
    if (Quick() && keys != 12288) continue;
    SCOPED_TRACE(keys);
    Step step({{37, keys}}, 6, 2);
    CheckSpreads(&step);
  }
}

TEST(ExchangedStates, Decode) {
  Step step({{1, Quick() ? 9000 : 36865}}, 8, 2);
  CheckSpreads(&step);
}

// One call of one process; over ranks, sequences in turn whose states travel
// together.
TEST(ExchangedStates, Ragged) {
  Step step({{1, 12289}, {1, 1}, {40, 40}, {0, 5000}, {1, 4096}, {7, 4099}}, 6,
            2);
  CheckSpreads(&step);
}

// Groups of spans: fewer states, the same bits.
TEST(ExchangedStates, WholeGroups) {
  Step step({{1, 140000}, {3, 65537}});
  step.Attend();
  for (const int ranks : {1, 2, 3, 5}) {
    for (const int64_t groups : {1, 2}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks, groups " +
                   std::to_string(groups));
      const KeySpread spread = {ranks, groups * kGroupStateKeys};
      EXPECT_TRUE(spread.whole_groups());
      CheckStates(step, spread);
    }
  }
}

TEST(ExchangedStates, RefuseAShardThatIsMisaligned) {
  const Step step({{2, 9000}});
  for (const int64_t block_keys : {1, 4095, 6144}) {
    const StateExchange exchange = {
        {2, block_keys}, step.num_heads, step.head_dim_v, step.sizes};
    std::vector<float> send =
        Floats(exchange.RowStates(1) * step.num_heads * (2 + step.head_dim_v));
    EXPECT_EQ(ToString(RankStates(step, exchange, 1, &send)),
              "invalid argument: first_key: must be a multiple of what a state "
              "covers (got " +
                  std::to_string(block_keys) + " over 4096)");
    for (const float x : send) ASSERT_TRUE(std::isnan(x));
  }
}

// Why sequences are taken in turn.
TEST(ExchangedStates, ARaggedShardIsRefused) {
  Step step({{1, 5000}, {1, 300}});
  const AttentionArgs args = step.Args();
  Plan plan;
  ASSERT_TRUE(MakePlan(AttentionParams(), ShapeOf(args), {}, &plan).ok());
  const eval::Tensor states = eval::MakeTensor(4, 1, 2, 5, eval::Layout::kBshd);
  EXPECT_EQ(
      ToString(RunStates(plan, args, {}, {}, SerialExecutor(), states.view)),
      "unsupported: ragged: is not offered for states");
  EXPECT_TRUE(Untouched(states));
}

}  // namespace
}  // namespace heed::test
