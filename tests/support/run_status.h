// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A call that is fine until a test spoils it, and what must then be said and
// left alone.
#ifndef HEED_TESTS_SUPPORT_RUN_STATUS_H_
#define HEED_TESTS_SUPPORT_RUN_STATUS_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"

namespace heed::test {

class RunStatusTest : public ::testing::Test {
 protected:
  RunStatusTest()
      : tensors_(
            eval::MakeTensors(ProblemOf("b2_h4_kv2_d8_dv6_q5_k7"),
                              {eval::Fill::kNormal, eval::Layout::kPadded})) {
    const Status status = MakePlan({}, tensors_.problem.shape, {}, &plan_);
    EXPECT_TRUE(status.ok()) << ToString(status);
    workspace_ = std::make_unique<WorkspaceBuffer>(WorkspaceBytes(plan_, 1));
  }

  void ExpectStatus(const Status& status, StatusCode code,
                    const std::string& argument) {
    SCOPED_TRACE(argument + ": " + ToString(status));
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(std::string(status.argument()), argument);
    EXPECT_TRUE(Untouched(tensors_.out));
    EXPECT_TRUE(Untouched(tensors_.lse));
  }

  // Run and BeginRun refuse the spoiled arguments alike.
  Status ExpectRefused(const std::function<void(AttentionArgs&)>& spoil,
                       StatusCode code, const std::string& argument) {
    tensors_.ClearOutput();
    AttentionArgs args = tensors_.Args();
    spoil(args);
    AttentionRun run;
    ExpectStatus(BeginRun(plan_, args, workspace_->get(), 1, {}, &run), code,
                 argument);
    EXPECT_EQ(NumPhases(run), 0);
    const Status status =
        heed::Run(plan_, args, workspace_->get(), SerialExecutor());
    ExpectStatus(status, code, argument);
    return status;
  }

  eval::Tensors tensors_;
  Plan plan_;
  std::unique_ptr<WorkspaceBuffer> workspace_;
};

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_RUN_STATUS_H_
