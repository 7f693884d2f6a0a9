// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What Run, BeginRun and Attention refuse: the code, the argument that is
// named, and that nothing was written.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
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

class RunStatus : public ::testing::Test {
 protected:
  RunStatus()
      : tensors_(MakeTensors(ProblemOf("b2_h4_kv2_d8_dv6_q5_k7"),
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

// The views of a call by name; const views as if they could be written.
struct NamedView {
  const char* name;
  std::function<void(AttentionArgs&, const std::function<void(TensorView&)>&)>
      apply;
};

template <typename View>
void Apply(View& view, const std::function<void(TensorView&)>& change) {
  TensorView copy;
  copy.data = const_cast<void*>(view.data);
  copy.dtype = view.dtype;
  std::copy(view.extent, view.extent + 4, copy.extent);
  std::copy(view.stride, view.stride + 4, copy.stride);
  change(copy);
  view = copy;
}

const NamedView kViews[] = {
    {"query", [](AttentionArgs& a, const auto& f) { Apply(a.query, f); }},
    {"key", [](AttentionArgs& a, const auto& f) { Apply(a.key, f); }},
    {"value", [](AttentionArgs& a, const auto& f) { Apply(a.value, f); }},
    {"out", [](AttentionArgs& a, const auto& f) { Apply(a.out, f); }},
    {"lse", [](AttentionArgs& a, const auto& f) { Apply(a.lse, f); }},
};

TEST_F(RunStatus, TheUnspoiledCallIsFine) {
  ASSERT_TRUE(
      heed::Run(plan_, tensors_.Args(), workspace_->get(), SerialExecutor())
          .ok());
  EXPECT_FALSE(Untouched(tensors_.out));
}

TEST_F(RunStatus, NullData) {
  for (const NamedView& view : kViews) {
    ExpectRefused(
        [&](AttentionArgs& args) {
          view.apply(args, [](TensorView& v) { v.data = nullptr; });
        },
        kInvalid, view.name);
  }
}

TEST_F(RunStatus, ViewsThatWereNeverSet) {
  for (const NamedView& view : kViews) {
    if (std::string(view.name) == "lse") continue;  // absent is fine
    ExpectRefused(
        [&](AttentionArgs& args) {
          view.apply(args, [](TensorView& v) { v = TensorView(); });
        },
        kInvalid, view.name);
  }
}

TEST_F(RunStatus, NegativeExtents) {
  for (const NamedView& view : kViews) {
    for (int axis = 0; axis < 4; ++axis) {
      const Status status = ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [axis](TensorView& v) { v.extent[axis] = -1; });
          },
          kInvalid, view.name);
      EXPECT_EQ(status.index(), axis);
      EXPECT_EQ(status.value(), -1);
    }
  }
}

// One axis of one tensor is one larger than the others say.
TEST_F(RunStatus, ShapesThatDisagree) {
  for (const NamedView& view : kViews) {
    for (int axis = 0; axis < 4; ++axis) {
      tensors_.ClearOutput();
      AttentionArgs args = tensors_.Args();
      view.apply(args, [axis](TensorView& v) { ++v.extent[axis]; });
      const Status status =
          heed::Run(plan_, args, workspace_->get(), SerialExecutor());
      SCOPED_TRACE(std::string(view.name) + " axis " + std::to_string(axis) +
                   ": " + ToString(status));
      EXPECT_EQ(status.code(), kInvalid);
      EXPECT_NE(std::string(status.argument()), "");
      EXPECT_TRUE(Untouched(tensors_.out));
      EXPECT_TRUE(Untouched(tensors_.lse));
    }
  }
  ExpectRefused([](AttentionArgs& args) { args.key.extent[3] = 7; }, kInvalid,
                "key");
  ExpectRefused([](AttentionArgs& args) { args.value.extent[1] = 6; }, kInvalid,
                "value");
  ExpectRefused([](AttentionArgs& args) { args.value.extent[2] = 1; }, kInvalid,
                "value");
  ExpectRefused([](AttentionArgs& args) { args.out.extent[3] = 5; }, kInvalid,
                "out");
  ExpectRefused([](AttentionArgs& args) { args.lse.extent[1] = 4; }, kInvalid,
                "lse");
  ExpectRefused([](AttentionArgs& args) { args.lse.extent[3] = 0; }, kInvalid,
                "lse");
}

TEST_F(RunStatus, LargerThanThePlan) {
  const eval::Tensors larger_q =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d8_dv6_q6_k7"), {});
  const eval::Tensors larger_k =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d8_dv6_q5_k8"), {});
  const eval::Tensors larger_b =
      eval::MakeTensors(ProblemOf("b3_h4_kv2_d8_dv6_q5_k7"), {});
  struct {
    const eval::Tensors* tensors;
    const char* argument;
    int64_t value, bound;
  } const cases[] = {{&larger_q, "query", 6, 5},
                     {&larger_k, "key", 8, 7},
                     {&larger_b, "query", 3, 2}};
  for (const auto& c : cases) {
    const Status status = heed::Run(plan_, c.tensors->Args(), workspace_->get(),
                                    SerialExecutor());
    ExpectStatus(status, kInvalid, c.argument);
    EXPECT_EQ(status.value(), c.value);
    EXPECT_EQ(status.bound(), c.bound);
    EXPECT_TRUE(Untouched(c.tensors->out));
  }
}

TEST_F(RunStatus, Dtypes) {
  for (const NamedView& view : kViews) {
    for (const DType dtype :
         {DType::kBF16, DType::kI8, static_cast<DType>(77)}) {
      ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [dtype](TensorView& v) { v.dtype = dtype; });
          },
          kUnsupported, view.name);
    }
  }
}

TEST_F(RunStatus, Strides) {
  for (const NamedView& view : kViews) {
    for (int axis = 0; axis < 3; ++axis) {
      ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [axis](TensorView& v) {
              v.stride[axis] = -v.stride[axis];
            });
          },
          kUnsupported, view.name);
      ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [axis](TensorView& v) { v.stride[axis] += 2; });
          },
          kInvalid, view.name);
    }
    if (std::string(view.name) == "lse") continue;  // innermost extent is 1
    for (const int64_t stride : {int64_t{8}, int64_t{0}, int64_t{-4}}) {
      ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [stride](TensorView& v) { v.stride[3] = stride; });
          },
          kUnsupported, view.name);
    }
  }
}

TEST_F(RunStatus, OutputsWhoseElementsShareMemory) {
  for (const char* output : {"out", "lse"}) {
    for (const NamedView& view : kViews) {
      if (std::string(view.name) != output) continue;
      for (int axis = 0; axis < 3; ++axis) {
        for (const int64_t stride : {int64_t{0}, int64_t{4}}) {
          // lse has one element a row: its heads may well be 4 bytes apart.
          if (stride == 4 && std::string(output) == "lse") continue;
          ExpectRefused(
              [&](AttentionArgs& args) {
                view.apply(args,
                           [=](TensorView& v) { v.stride[axis] = stride; });
              },
              kInvalid, output);
        }
      }
    }
  }
}

TEST_F(RunStatus, DataThatIsNotAlignedToItsElement) {
  for (const NamedView& view : kViews) {
    ExpectRefused(
        [&](AttentionArgs& args) {
          view.apply(args, [](TensorView& v) {
            v.data = static_cast<char*>(v.data) + 1;
          });
        },
        kInvalid, view.name);
  }
}

TEST_F(RunStatus, StridesThatLeaveTheAddressSpace) {
  for (const NamedView& view : kViews) {
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t stride = std::numeric_limits<int64_t>::max() - 3;
      ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [=](TensorView& v) { v.stride[axis] = stride; });
          },
          StatusCode::kOverflow, view.name);
    }
  }
}

TEST_F(RunStatus, Overlap) {
  const auto at = [](const eval::Tensor& tensor, int64_t elements) {
    return static_cast<float*>(tensor.view.data) + elements;
  };
  for (const eval::Tensor* input :
       {&tensors_.query, &tensors_.key, &tensors_.value}) {
    // The very place, its last element, and from before it.
    for (const int64_t offset : {0, 3, 100}) {
      ExpectRefused([&](AttentionArgs& a) { a.out.data = at(*input, offset); },
                    kInvalid, "out");
      ExpectRefused([&](AttentionArgs& a) { a.lse.data = at(*input, offset); },
                    kInvalid, "lse");
    }
  }
  ExpectRefused([&](AttentionArgs& a) { a.lse.data = at(tensors_.out, 7); },
                kInvalid, "lse");
}

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
  args.query.dtype = DType::kF16;
  ExpectStatus(heed::Attention({}, args), kUnsupported, "dtype");
}

}  // namespace
}  // namespace heed::test
