// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The door for engines whose threads arrive as "i of n": phases and tasks give
// the bits of Run, with and without barriers, in any order.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"
#include "tests/support/team.h"

namespace heed::test {
namespace {

class BeginRunTest : public OnEveryTarget {
 protected:
  // Shapes with many tiles, with one, and with more spans than two workers can
  // hold the states of at once: in rounds, or a group of spans each.
  std::vector<std::string> Problems() const {
    if (Quick()) {
      return {"b2_h3_kv1_d5_q19_k70_causal", "h1_d2_q1_k12293",
              "h2_d2_q3_k4100_causal", "h2_d2_q1_k20000", "h1_d2_q1_k300000"};
    }
    return {"b2_h6_kv2_d16_q150_k150_causal",
            "h1_d4_q1_k12293",
            "h8_kv1_d4_q1_k12293",
            "h4_kv1_d4_q2_k8195_causal",
            "h1_d4_q30_k40000",
            "h2_d4_q9_k20000_causal_wl9000_sink3",
            "h1_d2_q1_k300000",
            "h2_kv1_d2_q2_k400000_causal",
            "h2_d8_q0_k10",
            "h2_d8_q10_k0"};
  }

  Plan PlanFor(const io::Problem& problem) {
    PlanOptions options;
    options.target = GetParam().c_str();
    Plan plan;
    const Status status =
        MakePlan(problem.params, problem.shape, options, &plan);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return plan;
  }
};

TEST_P(BeginRunTest, TeamsGiveTheBitsOfRun) {
  for (const std::string& text : Problems()) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    const Plan plan = PlanFor(tensors.problem);
    for (const int workers : {1, 2, 3, 7}) {
      for (const bool barriers : {true, false}) {
        SCOPED_TRACE(text + ", workers " + std::to_string(workers) +
                     (barriers ? "" : ", no barriers"));
        const WorkspaceBuffer workspace(WorkspaceBytes(plan, workers));
        RunOptions options;
        options.barriers = barriers;
        AttentionRun run;
        tensors.ClearOutput();
        ASSERT_TRUE(BeginRun(plan, tensors.Args(), workspace.get(), workers,
                             options, &run)
                        .ok());
        if (!barriers) {
          EXPECT_LE(NumPhases(run), 1);
        }
        RunByTeam(run, workers);
        EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse));
        EXPECT_TRUE(workspace.TailIntact());
      }
    }
  }
}

// Runs the tasks of each phase on one thread, shuffled or last first, each on
// whichever worker.
void RunInOrder(const AttentionRun& run, bool shuffle, eval::Random* random) {
  for (int phase = 0; phase < NumPhases(run); ++phase) {
    std::vector<int64_t> order;
    for (int64_t i = NumTasks(run, phase); i-- > 0;) order.push_back(i);
    for (size_t i = order.size(); shuffle && i > 1; --i) {
      const int64_t j = random->Below(static_cast<int64_t>(i));
      std::swap(order[i - 1], order[static_cast<size_t>(j)]);
    }
    for (const int64_t i : order) {
      RunTask(run, phase, i, static_cast<int>(random->Below(run.workers)));
    }
  }
}

TEST_P(BeginRunTest, TasksOfAPhaseComeInAnyOrder) {
  eval::Random random(17);
  for (const std::string& text : Problems()) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), tensors.problem.params, tensors);
    const Plan plan = PlanFor(tensors.problem);
    for (const int workers : {2, 3, 5}) {
      for (const bool barriers : {true, false}) {
        for (const bool shuffle : {true, false}) {
          SCOPED_TRACE(text + ", workers " + std::to_string(workers) +
                       (barriers ? "" : ", no barriers") +
                       (shuffle ? ", shuffled" : ", last first"));
          const WorkspaceBuffer workspace(WorkspaceBytes(plan, workers));
          RunOptions options;
          options.barriers = barriers;
          AttentionRun run;
          tensors.ClearOutput();
          ASSERT_TRUE(BeginRun(plan, tensors.Args(), workspace.get(), workers,
                               options, &run)
                          .ok());
          RunInOrder(run, shuffle, &random);
          EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse));
        }
      }
    }
  }
}

// One query over a long cache: its spans are separate tasks, so that every
// worker has something to do.
TEST_P(BeginRunTest, DecodeIsSpreadOverSpans) {
  const io::Problem problem = ProblemOf("h1_d4_q1_k12293");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const Plan plan = PlanFor(problem);
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 4));
  for (const bool barriers : {true, false}) {
    RunOptions options;
    options.barriers = barriers;
    AttentionRun run;
    ASSERT_TRUE(
        BeginRun(plan, tensors.Args(), workspace.get(), 4, options, &run).ok());
    EXPECT_EQ(NumTasks(run, 0), 4) << "3 spans of 4096 keys and one of 5";
  }
  AttentionRun run;
  ASSERT_TRUE(
      BeginRun(plan, tensors.Args(), workspace.get(), 1, {}, &run).ok());
  EXPECT_EQ(NumTasks(run, 0), 1) << "one worker gains nothing from a split";
}

// A run is a plain value: copies are as good, and it may be begun again in the
// same workspace.
TEST_P(BeginRunTest, RunsAreValuesAndWorkspacesAreReused) {
  const io::Problem problem = ProblemOf("h2_d4_q2_k8200");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const Checker checker(GetParam(), problem.params, tensors);
  const Plan plan = PlanFor(problem);
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 3));
  for (int repeat = 0; repeat < 4; ++repeat) {
    RunOptions options;
    options.barriers = repeat % 2 == 0;
    AttentionRun run;
    tensors.ClearOutput();
    ASSERT_TRUE(
        BeginRun(plan, tensors.Args(), workspace.get(), 3, options, &run).ok());
    const AttentionRun copy = run;
    run = AttentionRun();
    RunByTeam(copy, 3);
    EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse)) << repeat;
  }
}

TEST_P(BeginRunTest, NothingToWriteHasNoPhases) {
  for (const char* text : {"b0_h2_d8_q5_k5", "h0_kv1_d8_q5", "h2_d8_q0_k5"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Plan plan = PlanFor(problem);
    const WorkspaceBuffer workspace(WorkspaceBytes(plan, 2));
    AttentionRun run;
    ASSERT_TRUE(
        BeginRun(plan, tensors.Args(), workspace.get(), 2, {}, &run).ok());
    EXPECT_EQ(NumPhases(run), 0) << text;
    EXPECT_EQ(NumTasks(run, 0), 0) << text;
  }
}

HEED_ON_EVERY_TARGET(BeginRunTest);

}  // namespace
}  // namespace heed::test
