// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The oneTBB executor: keeps the contract alone, nested in a caller's parallel
// loop, and with several callers at once; gives the same bits as any other.
#include <gtest/gtest.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "heed/heed.h"
#include "heed/tbb.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/executor_contract.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// As many threads as the tests below ask for, whatever the machine has.
class TbbExecutorTest : public ::testing::Test {
 private:
  tbb::global_control threads_{tbb::global_control::max_allowed_parallelism, 8};
};

TEST_F(TbbExecutorTest, KeepsTheContract) {
  for (const int workers : {1, 2, 3, 7}) {
    const TbbExecutor tbb(workers);
    EXPECT_EQ(tbb.num_threads(), workers);
    EXPECT_EQ(static_cast<Executor>(tbb).max_workers, workers);
    EXPECT_EQ(CheckExecutor(tbb, true), "") << workers;
  }
}

// More threads than there are would only be slots that stay empty, and a
// warning of oneTBB's on the caller's standard error.
TEST_F(TbbExecutorTest, HasNoMoreThanRun) {
  const TbbExecutor tbb(9);
  EXPECT_EQ(tbb.num_threads(), 8);
  const tbb::global_control fewer(tbb::global_control::max_allowed_parallelism,
                                  2);
  testing::internal::CaptureStderr();
  const TbbExecutor few(7);
  EXPECT_EQ(CheckExecutor(few), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(few.num_threads(), 2);
}

TEST_F(TbbExecutorTest, TakesTheMachineByDefault) {
  const TbbExecutor tbb;
  EXPECT_EQ(tbb.num_threads(), tbb::this_task_arena::max_concurrency());
  EXPECT_EQ(CheckExecutor(tbb), "");
}

TEST_F(TbbExecutorTest, KeepsItInsideACallersParallelLoop) {
  const TbbExecutor tbb(3);
  std::vector<std::string> broken(24);
  tbb::parallel_for(0, 24, [&](int i) {
    broken[static_cast<size_t>(i)] = CheckOneSize(tbb, 50);
  });
  for (const std::string& result : broken) EXPECT_EQ(result, "");
}

TEST_F(TbbExecutorTest, KeepsItInsideACallersArena) {
  tbb::task_arena arena(2);
  const TbbExecutor tbb(3);
  std::string broken;
  arena.execute([&] { broken = CheckExecutor(tbb); });
  EXPECT_EQ(broken, "");
}

// A thread that waits inside a run must not pick up the caller's other work: a
// caller that holds a lock around the run would meet itself.
TEST_F(TbbExecutorTest, NeverRunsTheCallersOtherTasks) {
  const TbbExecutor tbb(3);
  std::atomic<int> inside_out{0};
  tbb::parallel_for(0, 64, [&](int) {
    thread_local int depth = 0;
    if (depth != 0) inside_out.fetch_add(1);
    ++depth;
    CheckOneSize(tbb, 20);
    --depth;
  });
  EXPECT_EQ(inside_out.load(), 0);
}

TEST_F(TbbExecutorTest, GivesTheBits) {
  for (const std::string& target : UsableTargets()) {
    for (const char* text : {"b2_h6_kv2_d16_q70_k70_causal", "h1_d4_q1_k12293",
                             "h2_d4_q9_k20000_causal_wl9000_sink3"}) {
      const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
      const Checker checker(target, tensors.problem.params, tensors);
      for (const int workers : {1, 2, 3, 7}) {
        const TbbExecutor tbb(workers);
        checker.Check(RunConfig{target}, tbb);
      }
    }
  }
}

// Several callers share one executor, each inside the others' loop or not.
TEST_F(TbbExecutorTest, ServesSeveralCallersAtOnce) {
  const std::string text = "b2_h4_kv2_d16_q70_k100_causal";
  const TbbExecutor tbb(3);
  std::vector<eval::Tensors> tensors;
  for (int i = 0; i < 12; ++i) {
    tensors.push_back(eval::MakeTensors(ProblemOf(text), {}));
  }
  const AttentionParams params = tensors[0].problem.params;
  const Checker checker(DefaultTarget(), params, tensors[0]);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      tbb::parallel_for(0, 4, [&](int i) {
        const Status status = Attention(
            params, tensors[static_cast<size_t>(4 * caller + i)].Args(), tbb);
        EXPECT_TRUE(status.ok()) << ToString(status);
      });
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const eval::Tensors& mine : tensors) {
    EXPECT_TRUE(checker.Matches(mine.out, mine.lse));
  }
}

}  // namespace
}  // namespace heed::test
