// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Executors of NUMA nodes keep the contract, on the node's processors alone,
// and give the same bits. Where this machine has one node, two processors stand
// for two: hwloc, by which oneTBB sees them, takes a description for the
// machine.
#include <gtest/gtest.h>
#include <sched.h>
#include <tbb/global_control.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "heed/heed.h"
#include "heed/tbb.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/compare.h"
#include "tests/support/executor_contract.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

cpu_set_t Processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return set;
}

// Two nodes of a processor each, before oneTBB looks.
const bool kDescribed = [] {
  const cpu_set_t set = Processors();
  if (!CPU_ISSET(0, &set) || !CPU_ISSET(1, &set)) return false;
  setenv("HWLOC_SYNTHETIC", "node:2 core:1 pu:1", 1);
  setenv("HWLOC_THISSYSTEM", "1", 1);
  return true;
}();

// As many threads as the tests below ask for, whatever the machine has.
class NumaNodes : public ::testing::Test {
 private:
  tbb::global_control threads_{tbb::global_control::max_allowed_parallelism, 8};
};

TEST_F(NumaNodes, KeepTheContract) {
  ASSERT_GE(NumNumaNodes(), 1);
  for (int node = 0; node < NumNumaNodes(); ++node) {
    for (const int workers : {0, 1, 3}) {
      const TbbExecutor tbb(workers, node);
      EXPECT_GE(tbb.num_threads(), 1);
      if (workers != 0) {
        EXPECT_EQ(tbb.num_threads(), workers);
      }
      EXPECT_EQ(CheckExecutor(tbb), "");
    }
  }
}

TEST_F(NumaNodes, StayOnTheirProcessors) {
  if (!kDescribed) GTEST_SKIP() << "processors 0 and 1 are not ours";
  if (NumNumaNodes() == 1) GTEST_SKIP() << "oneTBB finds no library tbbbind";
  ASSERT_EQ(NumNumaNodes(), 2);
  const cpu_set_t before = Processors();
  for (int node = 0; node < 2; ++node) {
    for (const int workers : {0, 1, 3}) {
      const TbbExecutor tbb(workers, node);
      std::vector<cpu_set_t> seen(20);
      const Executor executor = tbb;
      executor.parallel_for(executor.self, 20, &seen,
                            [](void* ctx, int64_t i, int) {
                              (*static_cast<std::vector<cpu_set_t>*>(
                                  ctx))[static_cast<size_t>(i)] = Processors();
                            });
      for (const cpu_set_t& set : seen) {
        EXPECT_EQ(CPU_COUNT(&set), 1);
        EXPECT_TRUE(CPU_ISSET(node, &set)) << node << " workers " << workers;
      }
      const cpu_set_t after = Processors();
      EXPECT_TRUE(CPU_EQUAL(&before, &after));
    }
  }
}

// Nodes at the same time, each with a caller of its own.
TEST_F(NumaNodes, GiveTheBits) {
  const std::string text = "b1_h2_kv1_d16_q20_k5000_causal";
  std::vector<std::thread> callers;
  for (int node = 0; node < NumNumaNodes(); ++node) {
    callers.emplace_back([&text, node] {
      const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
      const Checker checker(DefaultTarget(), tensors.problem.params, tensors);
      for (const int workers : {0, 2}) {
        const TbbExecutor tbb(workers, node);
        checker.Check(RunConfig{DefaultTarget(), 0, tbb.num_threads()}, tbb);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(NumaNodes, ThatDoNotExistAreRefused) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf("h1_d4_q3"), {});
  for (const int node : {-1, NumNumaNodes()}) {
    const TbbExecutor tbb(2, node);
    EXPECT_EQ(tbb.num_threads(), 0);
    EXPECT_EQ(ToString(Attention({}, tensors.Args(), tbb)),
              "invalid argument: executor: needs at least one worker (got 0)");
    EXPECT_TRUE(Untouched(tensors.out));
  }
}

}  // namespace
}  // namespace heed::test
