// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans of patterns: what they keep is what Keep says, pair by pair; what runs
// is what they keep; nothing else is read.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "heed/sparse_variant.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

using patterns::Band;
using patterns::Documents;
using patterns::EveryNth;
using patterns::KeepIf;
using patterns::Queries;
using patterns::Segments;
using patterns::Sinks;
using patterns::Window;

const std::vector<int32_t>& DocumentIds() {
  static const std::vector<int32_t> ids = [] {
    std::vector<int32_t> of;
    for (int i = 0; i < 400; ++i) of.push_back(i / 37);
    return of;
  }();
  return ids;
}

auto Scattered() {
  return KeepIf([](int64_t head, int64_t query, int64_t key) {
    return (query * 31 + key * 17 + head * 5) % 7 < 2;
  });
}

// What one row sees by the masks and a predicate.
using Row = std::vector<bool>;

template <typename P>
Row Want(const AttentionParams& params, const AttentionShape& shape,
         const P& pattern, int64_t head, int64_t row) {
  const int64_t position =
      row + ops::CausalOffset(params, shape.seqlen_q, shape.seqlen_k);
  const ops::VisibleKeys see =
      ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
  Row keep(static_cast<size_t>(shape.seqlen_k));
  for (int64_t key = 0; key < shape.seqlen_k; ++key) {
    const bool seen = key < see.sink_end || (key >= see.begin && key < see.end);
    keep[static_cast<size_t>(key)] = seen && pattern.Keep(head, position, key);
  }
  return keep;
}

// The lists of every row, by a predicate alone: what the oracle is given.
template <typename P>
IntervalLists ListsOf(const AttentionParams& params,
                      const AttentionShape& shape, const P& pattern,
                      bool complement = false) {
  IntervalLists lists;
  lists.query_block_size = 1;
  for (int64_t list = 0; list < NumLists(shape, 1); ++list) {
    const Row keep =
        Want(params, shape, pattern, list / shape.seqlen_q % shape.num_heads,
             list % shape.seqlen_q);
    for (size_t key = 0; key < keep.size(); ++key) {
      if (keep[key] != complement) {
        lists.Add(static_cast<int64_t>(key), static_cast<int64_t>(key) + 1);
      }
    }
    lists.EndList();
  }
  return lists;
}

const char* const kProblems[] = {
    "b1_h2_kv1_d16_q150_causal",        "b2_h3_d8_q33_k200_causal",
    "b1_h2_d16_q70_k40_causal",         "b1_h1_d8_q65_k130",
    "b1_h2_d16_q130_causal_wl50_sink3", "b1_h2_d8_q1_k300_causal",
    "b1_h2_d8_q20_k30_causal_off25",    "b1_h2_d8_q90_k97_wl9_wr30_sink4",
};

// Runs `pattern` at every block size and holds it to the oracle, given the
// pairs that Keep names.
template <typename P>
void CheckPattern(const P& pattern, bool per_head = false) {
  for (const char* text : kProblems) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    AttentionArgs reference = tensors.Args();
    const IntervalLists lists = ListsOf(problem.params, problem.shape, pattern);
    reference.key_intervals = lists.View();
    const Truth truth(problem.params, reference);
    for (const int64_t block :
         std::initializer_list<int64_t>{0, 1, 7, 16, 64, INT64_MAX}) {
      SCOPED_TRACE(std::string(text) + " in blocks of " +
                   std::to_string(block));
      eval::ScratchPool memory, scratch;
      SparsePlan plan;
      SparseOptions options;
      options.query_block_size = block;
      options.per_head = per_head;
      Status status =
          MakeSparsePlan(problem.params, problem.shape, pattern, options,
                         memory.Begin(), SerialExecutor(), &plan);
      ASSERT_TRUE(status.ok()) << ToString(status);
      status = CheckSparsePlan(plan);
      ASSERT_TRUE(status.ok()) << ToString(status);
      tensors.ClearOutput();
      status = AttendSparse(plan, problem.params, tensors.Args(),
                            scratch.Begin(), SerialExecutor());
      ASSERT_TRUE(status.ok()) << ToString(status);
      EXPECT_TRUE(truth.Near(tensors.out, tensors.lse));
      double kept = 0;
      for (int64_t i = 0; i < plan.num_heads * problem.shape.seqlen_q; ++i) {
        const Row row =
            Want(problem.params, problem.shape, pattern,
                 i / problem.shape.seqlen_q, i % problem.shape.seqlen_q);
        kept += static_cast<double>(std::count(row.begin(), row.end(), true));
      }
      EXPECT_EQ(StatsOf(plan).kept_pairs, kept);
    }
  }
}

TEST(Pattern, WindowAndSinks) { CheckPattern(Window(20) | Sinks(3)); }
TEST(Pattern, BandAndGlobalQueries) {
  CheckPattern(Band(9) | Sinks(2) | Queries(0, 5));
}
TEST(Pattern, Strided) { CheckPattern(Window(6) | EveryNth(6)); }
// Lengths below 1 count as 1.
TEST(Pattern, LengthsBelowOne) {
  CheckPattern(Window(6) & EveryNth(-3));
  CheckPattern(patterns::Segments(0) | Sinks(2));
}
// More intervals than there is room for, out of order: they are joined on the
// way.
TEST(Pattern, MoreIntervalsThanKeysCanHave) {
  CheckPattern(EveryNth(2) | EveryNth(3));
  CheckPattern(EveryNth(2) | EveryNth(2) | EveryNth(5) | Sinks(3));
}
TEST(Pattern, SegmentsOnly) { CheckPattern(Segments(24)); }
TEST(Pattern, DocumentsAndWindow) {
  CheckPattern((Window(50) | Sinks(4)) & Documents(DocumentIds().data(), 400));
}
TEST(Pattern, Complement) { CheckPattern(~(Window(20) | Sinks(3))); }
TEST(Pattern, AnyPredicate) { CheckPattern(Scattered(), true); }
TEST(Pattern, PredicateWithinAWindow) {
  CheckPattern(Window(30) & Scattered(), true);
}
TEST(Pattern, NothingAtAll) {
  CheckPattern(KeepIf([](int64_t, int64_t, int64_t) { return false; }));
}

// Intervals and Keep are two ways to say one thing.
template <typename P>
void ExpectTheSame(const P& pattern) {
  for (int64_t query = -5; query < 130; ++query) {
    for (const int64_t end : {int64_t{0}, int64_t{1}, int64_t{100}}) {
      std::vector<bool> kept(100);
      PatternRow row;
      row.head = 1;
      row.query = query;
      row.end = end;
      ForEachKept(pattern, row, [&](int64_t begin, int64_t stop) {
        begin = std::max<int64_t>(begin, 0);
        stop = std::min(stop, end);
        for (int64_t key = begin; key < stop; ++key) {
          kept[static_cast<size_t>(key)] = true;
        }
      });
      for (int64_t key = 0; key < end; ++key) {
        ASSERT_EQ(kept[static_cast<size_t>(key)], pattern.Keep(1, query, key))
            << "query " << query << " key " << key << " end " << end;
      }
    }
  }
}

TEST(Pattern, IntervalsAreWhatKeepKeeps) {
  ExpectTheSame(Window(7));
  ExpectTheSame(Band(5));
  ExpectTheSame(Sinks(3));
  ExpectTheSame(Queries(10, 20));
  ExpectTheSame(Segments(16));
  ExpectTheSame(EveryNth(5));
  ExpectTheSame(EveryNth(1));
  ExpectTheSame(Documents(DocumentIds().data(), 90));
  ExpectTheSame((Window(7) | Sinks(2)) & ~EveryNth(3));
  ExpectTheSame(Scattered() & Band(9));
  std::vector<uint8_t> map(2 * 9 * 7);
  for (size_t i = 0; i < map.size(); ++i) map[i] = i % 3 == 0;
  ExpectTheSame(patterns::BlockMap(map.data(), 13, 16, 9, 7));
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
    const Row keep = Want(problem.params, problem.shape, pattern, 0, row);
    for (int64_t key = 0; key < 80; ++key) {
      if (keep[static_cast<size_t>(key)]) continue;
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

// More rows than fit the memory of a run at a time, and a mask: as a plan of
// single rows, which needs none.
TEST(Plan, RunsInParts) {
  const io::Problem problem = ProblemOf("b1_h2_kv1_d4_q3000_k9000_causal");
  const auto pattern = Window(70) | Sinks(5);
  const eval::Tensors parts = eval::MakeTensors(problem, {});
  const eval::Tensors rows = eval::MakeTensors(problem, {});
  eval::ScratchPool scratch;
  for (const int64_t block : {64, 1}) {
    eval::ScratchPool memory;
    SparseOptions options;
    options.query_block_size = block;
    SparsePlan plan;
    ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, options,
                               memory.Begin(), SerialExecutor(), &plan)
                    .ok());
    EXPECT_EQ(plan.num_words > 0, block > 1);
    ASSERT_TRUE(AttendSparse(plan, problem.params,
                             (block == 1 ? rows : parts).Args(),
                             scratch.Begin(), SerialExecutor())
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
  args.scores.hook = [](void*, const ScoreTile&) {};
  ExpectRefused(Attend(problem_.params, args), "scores");
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
