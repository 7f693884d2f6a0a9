// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Workspaces: how large they are, that they are never read before written, and
// that plans are shared freely.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class WorkspaceTest : public OnEveryTarget {
 protected:
  Plan PlanFor(const std::string& text, int lane_groups = 0) {
    const io::Problem problem = ProblemOf(text);
    PlanOptions options;
    options.target = GetParam().c_str();
    options.lane_groups = lane_groups;
    Plan plan;
    const Status status =
        MakePlan(problem.params, problem.shape, options, &plan);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return plan;
  }
};

constexpr size_t kMiB = 1 << 20;

TEST_P(WorkspaceTest, StaysBelowAMebibyteAWorker) {
  for (const char* dims : {"d1", "d64", "d128", "d192", "d256", "d512",
                           "d576_dv512", "d1024", "d1_dv1024", "d1024_dv1"}) {
    for (const int lane_groups : {0, 1, 16}) {
      const Plan plan =
          PlanFor("h8_kv1_" + std::string(dims) + "_q5000", lane_groups);
      for (const int workers : {1, 2, 16, 128}) {
        EXPECT_LE(WorkspaceBytes(plan, workers),
                  static_cast<size_t>(workers) * kMiB)
            << dims << ", lane groups " << lane_groups << ", workers "
            << workers;
      }
    }
  }
}

// However many rows the decode kernel is asked to take.
TEST_P(WorkspaceTest, DecodeRowsLeaveItBelowAMebibyte) {
  for (const char* dims : {"d1", "d128", "d512", "d1024"}) {
    const io::Problem problem =
        ProblemOf("h8_kv1_" + std::string(dims) + "_q5000_k100000");
    for (const int decode_rows : {4, 32, 64}) {
      PlanOptions options;
      options.target = GetParam().c_str();
      options.decode_rows = decode_rows;
      Plan plan;
      ASSERT_TRUE(MakePlan(problem.params, problem.shape, options, &plan).ok());
      for (const int workers : {1, 2, 16}) {
        EXPECT_LE(WorkspaceBytes(plan, workers),
                  static_cast<size_t>(workers) * kMiB)
            << dims << ", decode rows " << decode_rows << ", workers "
            << workers;
      }
    }
  }
}

// Rows of states between tiles included.
TEST_P(WorkspaceTest, SharedPrefixesLeaveItBelowAMebibyte) {
  for (const char* dims : {"d1", "d128", "d576_dv512", "d1024"}) {
    for (const char* types : {"", "_bf16", "_kvu4", "_bf16_kvi8_rot"}) {
      io::Problem problem =
          ProblemOf("h64_kv1_" + std::string(dims) + "_q1_k100000" + types);
      if (problem.shape.head_dim % 32 != 0 &&
          problem.shape.key_dtype == DType::kU4) {
        continue;
      }
      problem.shape.num_sequences = 100;
      problem.shape.shared_prefixes = true;
      for (const int decode_rows : {-1, 64}) {
        PlanOptions options;
        options.target = GetParam().c_str();
        options.decode_rows = decode_rows;
        Plan plan;
        const Status status =
            MakePlan(problem.params, problem.shape, options, &plan);
        ASSERT_TRUE(status.ok()) << ToString(status);
        AttentionShape apart = problem.shape;
        apart.shared_prefixes = false;
        Plan without;
        ASSERT_TRUE(MakePlan(problem.params, apart, options, &without).ok());
        for (const int workers : {1, 2, 16}) {
          EXPECT_LE(WorkspaceBytes(plan, workers),
                    std::max(static_cast<size_t>(workers) * kMiB + 128 * 100,
                             WorkspaceBytes(without, workers)))
              << dims << types << ", decode rows " << decode_rows
              << ", workers " << workers;
        }
      }
    }
  }
}

// Keys beyond a span, and beyond a group of spans, need a further state of a
// tile each; then nothing grows any more.
TEST_P(WorkspaceTest, DoesNotGrowWithLengthOrBatch) {
  const auto bytes = [&](const char* text) {
    return WorkspaceBytes(PlanFor(text), 4);
  };
  EXPECT_EQ(bytes("h4_d64_q1000_k4096"), bytes("h4_d64_q1000_k1000"));
  EXPECT_EQ(bytes("h4_d64_q1000_k65536"), bytes("h4_d64_q1000_k4097"));
  EXPECT_EQ(bytes("h4_d64_q1000_k2000000000"), bytes("h4_d64_q1000_k65537"));
  EXPECT_EQ(bytes("h4_d64_q1000000_k1000"), bytes("h4_d64_q1000_k1000"));
  EXPECT_EQ(bytes("b1000_h4_d64_q1000"), bytes("h4_d64_q1000"));
}

// Whatever an earlier run of another shape left there.
TEST_P(WorkspaceTest, LeftoversLeaveNoTrace) {
  const Plan plan = PlanFor("b2_h4_kv2_d16_q60_k9000_causal");
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
  for (const char* text :
       {"b2_h4_kv2_d16_q60_k100_causal", "h4_kv2_d16_q1_k9000_causal",
        "b2_h4_kv2_d16_q33_k0_causal", "h4_kv2_d16_q50_k4100_causal",
        "b2_h4_kv2_d16_q3_k3_causal"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), plan.params, tensors);
    for (const int fill : {0x00, 0xff, 0x7f}) {
      std::memset(workspace.get().data, fill, workspace.get().bytes);
      tensors.ClearOutput();
      ASSERT_TRUE(
          heed::Run(plan, tensors.Args(), workspace.get(), SerialExecutor())
              .ok());
      EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse)) << text;
    }
  }
}

// One plan, several threads, a workspace each.
TEST_P(WorkspaceTest, APlanServesManyThreads) {
  const std::string text = "h2_d16_q60_k200_causal";
  const Plan plan = PlanFor(text);
  const eval::Tensors first = eval::MakeTensors(ProblemOf(text), {});
  const Checker checker(GetParam(), plan.params, first);
  std::vector<eval::Tensors> tensors;
  for (int i = 0; i < 4; ++i) {
    tensors.push_back(eval::MakeTensors(ProblemOf(text), {}));
  }
  std::vector<std::thread> threads;
  for (const eval::Tensors& mine : tensors) {
    threads.emplace_back([&plan, &mine] {
      const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
      for (int repeat = 0; repeat < 10; ++repeat) {
        EXPECT_TRUE(
            heed::Run(plan, mine.Args(), workspace.get(), SerialExecutor())
                .ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const eval::Tensors& mine : tensors) {
    EXPECT_TRUE(checker.Matches(mine.out, mine.lse));
  }
}

HEED_ON_EVERY_TARGET(WorkspaceTest);

}  // namespace
}  // namespace heed::test
