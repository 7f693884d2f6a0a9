// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/run.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

constexpr unsigned char kFiller = 0xff;  // four of them are a NaN
constexpr size_t kTail = 64;

}  // namespace

WorkspaceBuffer::WorkspaceBuffer(size_t bytes)
    : memory_(bytes + kWorkspaceAlignment + kTail, kFiller) {
  unsigned char* data = memory_.data();
  while (reinterpret_cast<uintptr_t>(data) % kWorkspaceAlignment != 0) ++data;
  workspace_ = Workspace{data, bytes};
}

bool WorkspaceBuffer::TailIntact() const {
  const unsigned char* tail =
      static_cast<const unsigned char*>(workspace_.data) + workspace_.bytes;
  for (; tail != memory_.data() + memory_.size(); ++tail) {
    if (*tail != kFiller) return false;
  }
  return true;
}

std::string RunConfig::Text() const {
  return "target " + target + ", lane groups " + std::to_string(lane_groups) +
         ", workers " + std::to_string(workers) + ", decode rows " +
         std::to_string(decode_rows) +
         (numerics == Numerics::kFast ? ", fast" : "") +
         (unit != nullptr ? std::string(", unit ") + unit : "");
}

Status RunOn(const RunConfig& config, const AttentionParams& params,
             const AttentionArgs& args, const Executor& executor) {
  PlanOptions options;
  options.target = config.target.c_str();
  options.lane_groups = config.lane_groups;
  options.decode_rows = config.decode_rows;
  options.numerics = config.numerics;
  options.unit = config.unit;
  Plan plan;
  const Status planned = MakePlan(params, ShapeOf(args), options, &plan);
  if (!planned.ok()) return planned;
  const WorkspaceBuffer buffer(WorkspaceBytes(plan, executor.max_workers));
  const Status status = Run(plan, args, buffer.get(), executor);
  EXPECT_TRUE(buffer.TailIntact()) << "something behind the workspace was "
                                      "written; "
                                   << config.Text();
  return status;
}

Status RunOn(const RunConfig& config, const AttentionParams& params,
             const AttentionArgs& args) {
  if (config.workers == 1) {
    return RunOn(config, params, args, SerialExecutor());
  }
  ThreadExecutor threads(config.workers);
  return RunOn(config, params, args, threads);
}

io::Problem ProblemOf(const std::string& text) {
  io::Problem problem;
  const std::string error = io::ParseProblem(text, &problem);
  if (!error.empty()) {
    ADD_FAILURE() << error;
    std::abort();
  }
  return problem;
}

}  // namespace heed::test
