// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans: nothing but what they keep is read, in one piece or in parts; which
// calls they serve, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "heed/sparse.h"
#include "heed/sparse_variant.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

using patterns::EveryNth;
using patterns::KeepIf;
using patterns::Segments;
using patterns::Sinks;
using patterns::Window;

auto Scattered() {
  return KeepIf([](int64_t head, int64_t query, int64_t key) {
    return (query * 31 + key * 17 + head * 5) % 7 < 2;
  });
}

// Merging what a plan keeps with what it leaves out is dense attention.
TEST(Plan, AndItsComplementMakeDense) {
  const io::Problem problem = ProblemOf("b1_h2_d16_q90_k120_causal");
  const eval::Tensors kept = eval::MakeTensors(problem, {});
  const eval::Tensors rest = eval::MakeTensors(problem, {});
  const auto pattern = Window(20) & Scattered();
  eval::ScratchPool memory, scratch;
  SparseOptions options;
  options.per_head = true;
  const auto attend = [&](const auto& of, const eval::Tensors& tensors) {
    SparsePlan plan;
    ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, of, options,
                               memory.Begin(), SerialExecutor(), &plan)
                    .ok());
    ASSERT_TRUE(AttendSparse(plan, problem.params, tensors.Args(),
                             scratch.Begin(), SerialExecutor())
                    .ok());
  };
  attend(pattern, kept);
  attend(~pattern, rest);
  ASSERT_TRUE(MergeStates(kept.out.view, kept.lse.view, rest.out.view,
                          rest.lse.view, kept.out.view, kept.lse.view)
                  .ok());
  const Truth truth(problem.params, kept.Args());
  EXPECT_TRUE(truth.Near(kept.out, kept.lse));
}

// Poison at every key that a row does not keep: one row at a time.
TEST(Plan, ReadsNothingThatItLeavesOut) {
  const io::Problem problem = ProblemOf("b1_h1_d8_q70_k80_causal");
  const auto pattern = (Window(9) | Sinks(2) | EveryNth(11));
  eval::ScratchPool memory, scratch;
  SparsePlan plan;
  ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, {},
                             memory.Begin(), SerialExecutor(), &plan)
                  .ok());
  const eval::Tensors clean = eval::MakeTensors(problem, {});
  ASSERT_TRUE(AttendSparse(plan, problem.params, clean.Args(), scratch.Begin(),
                           SerialExecutor())
                  .ok());
  for (int64_t row = 0; row < 70; row += 3) {
    const eval::Tensors poisoned = eval::MakeTensors(problem, {});
    const int64_t position = row + 10;
    for (int64_t key = 0; key < 80; ++key) {
      if (key <= position && pattern.Keep(0, position, key)) continue;
      for (int64_t c = 0; c < 8; ++c) {
        *poisoned.key.At(0, key, 0, c) = NAN;
        *poisoned.value.At(0, key, 0, c) = INFINITY;
      }
    }
    ASSERT_TRUE(AttendSparse(plan, problem.params, poisoned.Args(),
                             scratch.Begin(), SerialExecutor())
                    .ok());
    for (int64_t c = 0; c < 8; ++c) {
      ASSERT_EQ(*poisoned.out.At(0, row, 0, c), *clean.out.At(0, row, 0, c))
          << "row " << row;
    }
  }
}

TEST(Plan, IsTheSameForAnyWorkers) {
  const io::Problem problem = ProblemOf("b1_h3_d8_q300_causal");
  const auto pattern = Window(40) & Scattered();
  ThreadExecutor threads(3);
  BackwardExecutor backward(2);
  SparseOptions options;
  options.per_head = true;
  options.query_block_size = 16;
  eval::ScratchPool memory;
  SparsePlan one;
  ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, options,
                             memory.Begin(), SerialExecutor(), &one)
                  .ok());
  for (const Executor& executor : {Executor(threads), Executor(backward)}) {
    eval::ScratchPool other_memory;
    SparsePlan other;
    ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, options,
                               other_memory.Begin(), executor, &other)
                    .ok());
    ASSERT_GT(one.num_words, 0);
    ASSERT_EQ(other.num_intervals, one.num_intervals);
    ASSERT_EQ(other.num_words, one.num_words);
    const auto same = [](const auto* a, const auto* b, int64_t count) {
      return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(*a)) == 0;
    };
    EXPECT_TRUE(same(one.intervals, other.intervals, one.num_intervals));
    EXPECT_TRUE(same(one.bits, other.bits, one.num_intervals));
    EXPECT_TRUE(same(one.words, other.words, one.num_words));
  }
}

// Nor does the size of blocks that it takes depend on them.
TEST(Plan, TakesBlocksThatCostLeast) {
  const io::Problem problem = ProblemOf("b1_h1_d8_q512_causal");
  ThreadExecutor threads(3);
  const auto block_of = [&](const auto& pattern, const Executor& executor) {
    eval::ScratchPool memory;
    SparsePlan plan;
    EXPECT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, {},
                               memory.Begin(), executor, &plan)
                    .ok());
    return plan.query_block_size;
  };
  for (const Executor& executor : {SerialExecutor(), Executor(threads)}) {
    EXPECT_EQ(block_of(Sinks(64), executor), 64);
    EXPECT_EQ(block_of(Segments(16), executor), 16);
    EXPECT_EQ(block_of(EveryNth(64), executor), 1);
  }
}

// Biases and masks of the caller's beside partial intervals.
TEST(Plan, TakesScoreInputsBesideBits) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d16_q70_k90_causal_cap5");
  const auto pattern = Window(20) & Scattered();
  constexpr int64_t kAll = 2 * 70 * 4 * 90;
  std::vector<float> bias(kAll);
  const std::unique_ptr<bool[]> seen(new bool[kAll]), both(new bool[kAll]);
  for (int64_t i = 0; i < kAll; ++i) {
    const int64_t key = i % 90, head = i / 90 % 4, row = i / 360 % 70;
    bias[static_cast<size_t>(i)] = static_cast<float>(i * 37 % 11 - 5) / 4;
    seen[static_cast<size_t>(i)] = (i * 29 + row) % 5 != 0;
    both[static_cast<size_t>(i)] =
        seen[static_cast<size_t>(i)] && pattern.Keep(head, row + 20, key);
  }
  const float slopes[] = {0.5f, 0.25f, 0.125f, 0.0625f};
  const eval::Tensors sparse = eval::MakeTensors(problem, {});
  const eval::Tensors dense = eval::MakeTensors(problem, {});
  const auto with = [&](AttentionArgs args, const bool* mask) {
    args.scores.bias =
        Bshd(static_cast<const float*>(bias.data()), 2, 70, 4, 90);
    args.scores.mask = Bshd(mask, 2, 70, 4, 90);
    args.scores.alibi_slopes = Strided(slopes, 2, 1, 4, 1, 0, 0, 1);
    return args;
  };
  ASSERT_TRUE(Attention(problem.params, with(dense.Args(), both.get())).ok());
  for (const int64_t block : {16, 64}) {
    eval::ScratchPool memory, scratch;
    SparseOptions options;
    options.per_head = true;
    options.query_block_size = block;
    SparsePlan plan;
    ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, options,
                               memory.Begin(), SerialExecutor(), &plan)
                    .ok());
    ASSERT_GT(plan.num_words, 0);
    ASSERT_TRUE(AttendSparse(plan, problem.params,
                             with(sparse.Args(), seen.get()), scratch.Begin(),
                             SerialExecutor())
                    .ok());
    const std::vector<float> got = sparse.out.Dense(), want = dense.out.Dense();
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-5f) << "element " << i;
    }
  }
}

// More rows than fit the memory of a run at a time, and a mask: as a plan of
// single rows, which needs none. Inputs by row follow.
TEST(Plan, RunsInParts) {
  const io::Problem problem = ProblemOf("b1_h2_kv1_d4_q3000_k9000_causal");
  const auto pattern = Window(70) | Sinks(5);
  const eval::Tensors parts = eval::MakeTensors(problem, {});
  const eval::Tensors rows = eval::MakeTensors(problem, {});
  eval::ScratchPool scratch;
  const float slopes[] = {0.05f, 0.01f};
  std::vector<int32_t> ends;
  for (int32_t row = 0; row < 3000; ++row) ends.push_back(5990 + row);
  for (const int64_t block : {64, 1}) {
    eval::ScratchPool memory;
    SparseOptions options;
    options.query_block_size = block;
    AttentionArgs args = (block == 1 ? rows : parts).Args();
    args.scores.alibi_slopes = Strided(slopes, 1, 1, 2, 1, 0, 0, 1);
    args.scores.row_lengths =
        Bshd(static_cast<const int32_t*>(ends.data()), 1, 3000, 1, 1);
    SparsePlan plan;
    ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, options,
                               memory.Begin(), SerialExecutor(), &plan)
                    .ok());
    EXPECT_EQ(plan.num_words > 0, block > 1);
    ASSERT_TRUE(AttendSparse(plan, problem.params, args, scratch.Begin(),
                             SerialExecutor())
                    .ok());
  }
  EXPECT_LT(scratch.HighWater(), size_t{22} << 20);
  const std::vector<float> got = parts.out.Dense();
  const std::vector<float> want = rows.out.Dense();
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1e-5f) << "element " << i;
  }
}

// One query over many keys: what is read is what is kept.
TEST(PatternCost, CountsKeysThatAreRead) {
  AttentionShape shape = ProblemOf("b2_h8_kv2_d16_dv8_q1_k8192").shape;
  AttentionParams params;
  params.causal = true;
  const Cost cost = sparse::PatternCost(shape, params, Window(128) | Sinks(4));
  EXPECT_EQ(cost.flops, 2.0 * 2 * 8 * 132 * (16 + 8));
  EXPECT_EQ(cost.bytes, 4.0 * (16 + 8) * (2 * 8 + 2 * 2 * 132));
}

class PlanStatus : public ::testing::Test {
 protected:
  PlanStatus()
      : problem_(ProblemOf("b1_h2_d8_q20_k30_causal")),
        tensors_(eval::MakeTensors(problem_, {})) {
    const auto pattern = Window(5) | Sinks(1);
    SparseOptions options;
    options.query_block_size = 16;
    EXPECT_TRUE(MakeSparsePlan(problem_.params, problem_.shape, pattern,
                               options, memory_.Begin(), SerialExecutor(),
                               &plan_)
                    .ok());
  }

  void ExpectRefused(const Status& status, const char* argument) {
    EXPECT_FALSE(status.ok());
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_TRUE(Untouched(tensors_.out));
    EXPECT_TRUE(Untouched(tensors_.lse));
  }
  Status Attend(const AttentionParams& params, const AttentionArgs& args) {
    return AttendSparse(plan_, params, args, scratch_.Begin(),
                        SerialExecutor());
  }

  io::Problem problem_;
  eval::Tensors tensors_;
  eval::ScratchPool memory_, scratch_;
  SparsePlan plan_;
};

TEST_F(PlanStatus, CallsThatThePlanIsNotFor) {
  AttentionParams params = problem_.params;
  params.causal = false;
  ExpectRefused(Attend(params, tensors_.Args()), "params");
  params = problem_.params;
  params.causal_offset = 3;
  ExpectRefused(Attend(params, tensors_.Args()), "params");
  AttentionArgs args = tensors_.Args();
  args.query.extent[1] = args.out.extent[1] = args.lse.extent[1] = 19;
  ExpectRefused(Attend(problem_.params, args), "seqlen_q");
  args = tensors_.Args();
  args.key.extent[1] = args.value.extent[1] = 29;
  ExpectRefused(Attend(problem_.params, args), "seqlen_k");
  args = tensors_.Args();
  args.key_intervals.query_block_size = 4;
  ExpectRefused(Attend(problem_.params, args), "key_intervals");
  args = tensors_.Args();
  args.out.data = const_cast<void*>(args.query.data);
  ExpectRefused(Attend(problem_.params, args), "out");
  EXPECT_TRUE(Attend(problem_.params, tensors_.Args()).ok());
}

TEST_F(PlanStatus, WhatIsNoMaskMayDiffer) {
  AttentionParams params = problem_.params;
  params.softmax_scale = 0.3f;
  params.softcap = 4;
  params.causal_offset = 10;  // as bottom right is
  EXPECT_TRUE(Attend(params, tensors_.Args()).ok());
}

TEST_F(PlanStatus, RunsThatLackSomething) {
  ExpectRefused(AttendSparse(plan_, problem_.params, tensors_.Args(), Scratch(),
                             SerialExecutor()),
                "scratch");
  ExpectRefused(AttendSparse(plan_, problem_.params, tensors_.Args(),
                             scratch_.Begin(), Executor()),
                "executor");
  ExpectRefused(AttendSparse(plan_, problem_.params, tensors_.Args(),
                             scratch_.Begin(), SerialExecutor(), "abacus"),
                "target");
  ExpectRefused(AttendSparse(SparsePlan(), problem_.params, tensors_.Args(),
                             scratch_.Begin(), SerialExecutor()),
                "plan");
}

TEST_F(PlanStatus, RequestsThatCannotBeMet) {
  SparsePlan plan;
  const auto make = [&](const AttentionParams& params,
                        const AttentionShape& shape, int64_t block) {
    SparseOptions options;
    options.query_block_size = block;
    return MakeSparsePlan(params, shape, Window(3), options, memory_.Begin(),
                          SerialExecutor(), &plan);
  };
  ExpectRefused(make(problem_.params, problem_.shape, -1), "query_block_size");
  AttentionShape shape = problem_.shape;
  shape.seqlen_k = -1;
  ExpectRefused(make(problem_.params, shape, 0), "seqlen_k");
  AttentionParams params = problem_.params;
  params.window_left = -2;
  ExpectRefused(make(params, problem_.shape, 0), "window_left");
  shape = problem_.shape;
  shape.batch = -1;
  ExpectRefused(make(problem_.params, shape, 0), "batch");
  shape = problem_.shape;
  shape.num_heads = -1;
  ExpectRefused(make(problem_.params, shape, 0), "num_heads");
  EXPECT_EQ(plan.offsets, nullptr);
}

// The words of 2^60 rows are more than 64 bits count.
TEST_F(PlanStatus, WordsOfAbsurdBlocks) {
  const int64_t offsets[] = {0, 1};
  const KeyInterval intervals[] = {{0, 1024}};
  const int64_t bits[] = {0};
  const uint64_t words[] = {0};
  SparsePlan plan = plan_;
  plan.batch = plan.num_heads = plan.num_intervals = plan.num_words = 1;
  plan.seqlen_q = plan.query_block_size = int64_t{1} << 60;
  plan.seqlen_k = 1024;
  plan.offsets = offsets;
  plan.intervals = intervals;
  plan.bits = bits;
  plan.words = words;
  EXPECT_STREQ(CheckSparsePlan(plan).argument(), "bits");
}

// Every index of a plan from elsewhere, spoilt by itself.
TEST_F(PlanStatus, SpoiltPlans) {
  ASSERT_GT(plan_.num_words, 0);
  std::vector<int64_t> offsets(plan_.offsets, plan_.offsets + 3);
  std::vector<KeyInterval> intervals(plan_.intervals,
                                     plan_.intervals + plan_.num_intervals);
  std::vector<int64_t> bits(plan_.bits, plan_.bits + plan_.num_intervals);
  const auto check = [&](const std::function<void(SparsePlan*)>& spoil,
                         const char* argument, int64_t index) {
    const auto kept = std::make_tuple(offsets, intervals, bits);
    SparsePlan plan = plan_;
    spoil(&plan);
    plan.offsets = offsets.data();
    plan.intervals = intervals.data();
    plan.bits = bits.data();
    const Status status = CheckSparsePlan(plan);
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    if (index >= 0) {
      EXPECT_EQ(status.index(), index);
    }
    std::tie(offsets, intervals, bits) = kept;
  };
  check([](auto*) {}, "", -1);
  check([](auto* p) { p->batch = 0; }, "batch", -1);
  check([](auto* p) { p->query_block_size = 0; }, "query_block_size", -1);
  check([](auto* p) { p->seqlen_k = int64_t{1} << 40; }, "seqlen_k", -1);
  check([](auto* p) { p->num_words -= 1; }, "bits", -1);
  check([&](auto*) { offsets[0] = 1; }, "offsets", 0);
  check([&](auto*) { offsets[1] = -1; }, "offsets", 1);
  check([&](auto*) { offsets[2] += 1; }, "offsets", 2);
  check([&](auto*) { intervals[1].begin = intervals[0].begin; }, "intervals",
        1);
  check([&](auto*) { intervals.back().end = 31; }, "intervals",
        plan_.num_intervals - 1);
  check([&](auto*) { intervals[0].end = intervals[0].begin; }, "intervals", 0);
  check([&](auto*) { bits[1] = -2; }, "bits", 1);
  check([&](auto*) { bits[0] = plan_.num_words; }, "bits", 0);
}

}  // namespace
}  // namespace heed::test
