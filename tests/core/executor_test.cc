// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The executor contract: the test of pools finds what it looks for, the pools
// here keep it, and a run notices one that does not.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/executor_contract.h"
#include "tests/support/targets.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

TEST(ExecutorContract, SerialKeepsIt) {
  EXPECT_EQ(CheckExecutor(SerialExecutor(), true), "");
}

TEST(ExecutorContract, ThreadsKeepIt) {
  for (const int workers : {1, 2, 3, 7}) {
    ThreadExecutor threads(workers);
    EXPECT_EQ(CheckExecutor(threads, true), "") << workers;
  }
}

TEST(ExecutorContract, BackwardKeepsIt) {
  BackwardExecutor backward(5);
  EXPECT_EQ(CheckExecutor(backward, true), "");
}

// What a broken pool does with the tasks it is given.
using Break = void (*)(int64_t num_tasks, void* ctx,
                       void (*task)(void* ctx, int64_t i, int worker));

struct BrokenExecutor {
  Break run;
  operator Executor() { return Executor{this, &ParallelFor, 2}; }
  static void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                          void (*task)(void* ctx, int64_t i, int worker)) {
    static_cast<BrokenExecutor*>(self)->run(num_tasks, ctx, task);
  }
};

using Task = void (*)(void*, int64_t, int);

struct NamedBreak {
  const char* name;
  Break run;
};

const NamedBreak kBreaks[] = {
    {"DropsTheLast",
     [](int64_t n, void* ctx, Task task) {
       for (int64_t i = 0; i + 1 < n; ++i) task(ctx, i, 0);
     }},
    {"DropsAll", [](int64_t, void*, Task) {}},
    {"RepeatsTheFirst",
     [](int64_t n, void* ctx, Task task) {
       for (int64_t i = 0; i < n; ++i) task(ctx, i, 0);
       if (n > 0) task(ctx, 0, 0);
     }},
    {"RunsOneTooMany",
     [](int64_t n, void* ctx, Task task) {
       for (int64_t i = 0; i <= n; ++i) task(ctx, i, 0);
     }},
    {"GivesAWorkerThatDoesNotExist",
     [](int64_t n, void* ctx, Task task) {
       for (int64_t i = 0; i < n; ++i) task(ctx, i, 2);
     }},
    {"GivesANegativeWorker",
     [](int64_t n, void* ctx, Task task) {
       for (int64_t i = 0; i < n; ++i) task(ctx, i, -1);
     }},
    {"RepeatsOneInPlaceOfAnother",
     [](int64_t n, void* ctx, Task task) {
       for (int64_t i = 0; i < n; ++i) task(ctx, i == 1 ? 0 : i, 0);
     }},
};

TEST(ExecutorContract, FindsBrokenPools) {
  for (const NamedBreak& broken : kBreaks) {
    BrokenExecutor executor{broken.run};
    EXPECT_NE(CheckExecutor(executor), "") << broken.name;
  }
  Executor none = SerialExecutor();
  none.max_workers = 0;
  EXPECT_NE(CheckExecutor(none), "");
  none = SerialExecutor();
  none.parallel_for = nullptr;
  EXPECT_NE(CheckExecutor(none), "");
}

TEST(ExecutorContract, FindsWorkersThatAreShared) {
  BrokenExecutor executor{[](int64_t n, void* ctx, Task task) {
    std::thread other([&] {
      for (int64_t i = 0; i < n / 2; ++i) task(ctx, i, 0);
    });
    for (int64_t i = n / 2; i < n; ++i) task(ctx, i, 0);
    other.join();
  }};
  // Found when it happens: some thousand tasks on two threads.
  std::string found;
  for (int repeat = 0; repeat < 50 && found.empty(); ++repeat) {
    found = CheckExecutor(executor);
  }
  EXPECT_NE(found.find("same worker"), std::string::npos) << found;
}

class BrokenPools : public OnEveryTarget {};

// A run that was not done whole says so, and the workspace may be used again.
TEST_P(BrokenPools, MakeARunFail) {
  for (const char* text : {"b2_h3_kv1_d5_q19_k70_causal", "h1_d4_q1_k12293"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Checker checker(GetParam(), problem.params, tensors);
    PlanOptions options;
    options.target = GetParam().c_str();
    Plan plan;
    ASSERT_TRUE(MakePlan(problem.params, problem.shape, options, &plan).ok());
    const WorkspaceBuffer workspace(WorkspaceBytes(plan, 2));
    for (const NamedBreak& broken : kBreaks) {
      // A task beyond the last is ignored, so nothing is missing then.
      const bool harmless = std::string(broken.name) == "RunsOneTooMany";
      BrokenExecutor executor{broken.run};
      const Status status =
          heed::Run(plan, tensors.Args(), workspace.get(), executor);
      SCOPED_TRACE(std::string(text) + ", " + broken.name + ": " +
                   ToString(status));
      if (!harmless) {
        EXPECT_EQ(status.code(), StatusCode::kInternal);
        EXPECT_EQ(std::string(status.argument()), "executor");
      }
      ASSERT_TRUE(
          heed::Run(plan, tensors.Args(), workspace.get(), SerialExecutor())
              .ok());
      EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse));
    }
  }
}

HEED_ON_EVERY_TARGET(BrokenPools);

}  // namespace
}  // namespace heed::test
