// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What Run, BeginRun and Attention refuse about everything but the tensors: the
// code, the argument that is named, and that nothing was written.
#include "tests/support/run_status.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;

class RunStatus : public RunStatusTest {};

TEST_F(RunStatus, Workspace) {
  const Workspace good = workspace_->get();
  const size_t need = WorkspaceBytes(plan_, 1);
  AttentionRun run;
  for (const Workspace& bad :
       {Workspace{good.data, need - 1}, Workspace{good.data, 0},
        Workspace{nullptr, need}, Workspace{}}) {
    const Status status =
        heed::Run(plan_, tensors_.Args(), bad, SerialExecutor());
    ExpectStatus(status, StatusCode::kWorkspace, "workspace");
    EXPECT_EQ(status.bound(), static_cast<int64_t>(need));
    ExpectStatus(BeginRun(plan_, tensors_.Args(), bad, 1, {}, &run),
                 StatusCode::kWorkspace, "workspace");
  }
  const Status more = BeginRun(plan_, tensors_.Args(), good, 3, {}, &run);
  ExpectStatus(more, StatusCode::kWorkspace, "workspace");
  EXPECT_EQ(more.bound(), static_cast<int64_t>(WorkspaceBytes(plan_, 3)));

  const WorkspaceBuffer large(need + 64);
  for (const size_t offset : {1u, 4u, 32u}) {
    const Workspace misaligned = {static_cast<char*>(large.get().data) + offset,
                                  need};
    ExpectStatus(
        heed::Run(plan_, tensors_.Args(), misaligned, SerialExecutor()),
        StatusCode::kWorkspace, "workspace");
  }
}

// A tensor in the workspace would be overwritten, or overwrite it.
TEST_F(RunStatus, TensorsInTheWorkspace) {
  const size_t need = WorkspaceBytes(plan_, 1);
  const WorkspaceBuffer memory(need + (1 << 16));
  char* const data = static_cast<char*>(memory.get().data);
  const eval::Tensors& t = tensors_;
  // Of every tensor: all but its last element lies in front, or it begins with
  // the workspace's last element.
  for (TensorView AttentionArgs::*output :
       {&AttentionArgs::out, &AttentionArgs::lse}) {
    AttentionArgs args = t.Args();
    TensorView& view = args.*output;
    for (const size_t at : {size_t{0}, need - 4}) {
      view.data = data + at;
      ExpectStatus(heed::Run(plan_, args, {data, need}, SerialExecutor()),
                   kInvalid, "workspace");
    }
    view.data = data + need;
    AttentionRun run;
    EXPECT_TRUE(BeginRun(plan_, args, {data, need}, 1, {}, &run).ok());
  }
  for (ConstTensorView AttentionArgs::*input :
       {&AttentionArgs::query, &AttentionArgs::key, &AttentionArgs::value}) {
    AttentionArgs args = t.Args();
    (args.*input).data = data + need - 4;
    ExpectStatus(heed::Run(plan_, args, {data, need}, SerialExecutor()),
                 kInvalid, "workspace");
  }
}

TEST_F(RunStatus, Executors) {
  Executor executor = SerialExecutor();
  executor.max_workers = 0;
  ExpectStatus(heed::Run(plan_, tensors_.Args(), workspace_->get(), executor),
               kInvalid, "executor");
  executor.max_workers = -3;
  ExpectStatus(heed::Run(plan_, tensors_.Args(), workspace_->get(), executor),
               kInvalid, "executor");
  ExpectStatus(heed::Attention({}, tensors_.Args(), executor), kInvalid,
               "executor");
  executor = SerialExecutor();
  executor.parallel_for = nullptr;
  ExpectStatus(heed::Run(plan_, tensors_.Args(), workspace_->get(), executor),
               kInvalid, "executor");
}

TEST_F(RunStatus, PlansAndRunsThatWereNeverMade) {
  AttentionRun run;
  ExpectStatus(
      heed::Run(Plan(), tensors_.Args(), workspace_->get(), SerialExecutor()),
      kInvalid, "plan");
  ExpectStatus(
      BeginRun(Plan(), tensors_.Args(), workspace_->get(), 1, {}, &run),
      kInvalid, "plan");
  ExpectStatus(
      BeginRun(plan_, tensors_.Args(), workspace_->get(), 1, {}, nullptr),
      kInvalid, "run");
  ExpectStatus(BeginRun(plan_, tensors_.Args(), workspace_->get(), 0, {}, &run),
               kInvalid, "workers");
  EXPECT_EQ(NumPhases(AttentionRun()), 0);
  EXPECT_EQ(NumTasks(AttentionRun(), 0), 0);
}

TEST_F(RunStatus, TasksThatDoNotExistDoNothing) {
  AttentionRun run;
  ASSERT_TRUE(
      BeginRun(plan_, tensors_.Args(), workspace_->get(), 1, {}, &run).ok());
  ASSERT_GE(NumPhases(run), 1);
  EXPECT_EQ(NumTasks(run, -1), 0);
  EXPECT_EQ(NumTasks(run, NumPhases(run)), 0);
  RunTask(run, 0, -1, 0);
  RunTask(run, 0, NumTasks(run, 0), 0);
  RunTask(run, NumPhases(run), 0, 0);
  RunTask(run, 0, 0, 1);
  RunTask(run, 0, 0, -1);
  EXPECT_TRUE(Untouched(tensors_.out));
}

TEST_F(RunStatus, KeyIntervals) {
  const AttentionShape& shape = tensors_.problem.shape;
  eval::Random random(1);
  const IntervalLists good = FullLists(shape, 2, 2, random);
  AttentionArgs fine = tensors_.Args();
  fine.key_intervals = good.View();
  ASSERT_TRUE(heed::Run(plan_, fine, workspace_->get(), SerialExecutor()).ok());
  const auto refuse = [&](
                          const std::function<void(IntervalLists&)>& spoil,
                          const std::function<void(KeyIntervals&)>& after =
                              [](KeyIntervals&) {}) {
    IntervalLists lists = good;
    spoil(lists);
    KeyIntervals view = lists.View();
    after(view);
    ExpectRefused([&](AttentionArgs& a) { a.key_intervals = view; }, kInvalid,
                  "key_intervals");
  };
  const auto leave = [](IntervalLists&) {};
  refuse([](IntervalLists& l) { l.query_block_size = -1; });
  refuse([](IntervalLists& l) { l.query_block_size = 3; });
  refuse([](IntervalLists& l) { l.offsets.pop_back(); });
  refuse([](IntervalLists& l) { l.offsets[0] = 1; });
  refuse([](IntervalLists& l) { l.offsets[3] = l.offsets[2] - 1; });
  refuse([](IntervalLists& l) { l.offsets[3] = int64_t{1} << 60; });
  refuse([](IntervalLists& l) { l.offsets[3] = -1; });
  refuse([](IntervalLists& l) { --l.offsets.back(); });
  refuse([](IntervalLists& l) { l.intervals.back().end = 8; });
  refuse([](IntervalLists& l) { l.intervals[0].begin = -1; });
  refuse([](IntervalLists& l) { l.intervals[0].end = l.intervals[0].begin; });
  refuse([](IntervalLists& l) { l.intervals[0] = {5, 3}; });
  refuse([](IntervalLists& l) { l.intervals[1].begin = 0; });
  refuse(leave, [](KeyIntervals& v) { v.offsets = nullptr; });
  refuse(leave, [](KeyIntervals& v) { v.intervals = nullptr; });
  refuse(leave, [](KeyIntervals& v) { v.num_intervals = -1; });
  refuse(leave, [](KeyIntervals& v) { ++v.num_intervals; });
}

// Tasks read the lists while others write.
TEST_F(RunStatus, KeyIntervalsInOutputs) {
  eval::Random random(1);
  const IntervalLists lists = FullLists(tensors_.problem.shape, 2, 2, random);
  for (const bool offsets : {true, false}) {
    AttentionArgs args = tensors_.Args();
    args.key_intervals = lists.View();
    if (offsets) {
      std::copy(lists.offsets.begin(), lists.offsets.end(),
                static_cast<int64_t*>(args.out.data));
      args.key_intervals.offsets = static_cast<int64_t*>(args.out.data);
    } else {
      std::copy(lists.intervals.begin(), lists.intervals.end(),
                static_cast<KeyInterval*>(args.out.data));
      args.key_intervals.intervals = static_cast<KeyInterval*>(args.out.data);
    }
    EXPECT_EQ(
        ToString(heed::Run(plan_, args, workspace_->get(), SerialExecutor())),
        std::string("invalid argument: out: overlaps key_intervals.") +
            (offsets ? "offsets" : "intervals"));
  }
}

// The one-shot call plans too: what MakePlan refuses, it refuses.
TEST_F(RunStatus, OneShot) {
  AttentionParams params;
  params.window_left = -7;
  ExpectStatus(heed::Attention(params, tensors_.Args()), kInvalid,
               "window_left");
  AttentionArgs args = tensors_.Args();
  args.key.data = nullptr;
  ExpectStatus(heed::Attention({}, args), kInvalid, "key");
  args = tensors_.Args();
  args.query.extent[3] = args.key.extent[3] = 0;
  ExpectStatus(heed::Attention({}, args), kInvalid, "head_dim");
  args = tensors_.Args();
  args.query.dtype = DType::kI8;
  ExpectStatus(heed::Attention({}, args), kUnsupported, "query_dtype");
  args = tensors_.Args();
  args.out.dtype = DType::kF8E4M3;
  ExpectStatus(heed::Attention({}, args), kUnsupported, "out_dtype");
}

}  // namespace
}  // namespace heed::test
