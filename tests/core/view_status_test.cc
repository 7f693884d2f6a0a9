// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What Run and BeginRun refuse about a tensor: the code, the argument that is
// named, and that nothing was written.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/core/tensors.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/run_status.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;

class ViewStatus : public RunStatusTest {};

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

// One tensor of a call without scales and score inputs, const ones as if they
// could be written.
struct NamedView {
  const char* name;
  DType AttentionShape::*dtype;  // null for lse
  bool is_output;

  void apply(AttentionArgs& args,
             const std::function<void(TensorView&)>& change) const {
    internal::ForEachTensor(
        args, [&](auto& view, const internal::TensorName& of, auto) {
          if (of.argument == name) Apply(view, change);
        });
  }
};

std::vector<NamedView> MakeViews() {
  std::vector<NamedView> views;
  const AttentionArgs args;
  internal::ForEachTensor(
      args, [&](const auto&, const internal::TensorName& name,
                internal::TensorRole role) {
        if (name.dtype == nullptr && std::string(name.argument) != "lse") {
          return;
        }
        views.push_back(
            {name.argument, name.dtype, role == internal::TensorRole::kOutput});
      });
  return views;
}

const std::vector<NamedView> kViews = MakeViews();

TEST(ViewList, NamesEveryTensorOnce) {
  std::string names;
  for (const NamedView& view : kViews) {
    names += std::string(view.name) + (view.is_output ? "! " : " ");
  }
  EXPECT_EQ(names, "query key value out! lse! ");
}

TEST_F(ViewStatus, TheUnspoiledCallIsFine) {
  ASSERT_TRUE(
      heed::Run(plan_, tensors_.Args(), workspace_->get(), SerialExecutor())
          .ok());
  EXPECT_FALSE(Untouched(tensors_.out));
}

TEST_F(ViewStatus, NullData) {
  for (const NamedView& view : kViews) {
    ExpectRefused(
        [&](AttentionArgs& args) {
          view.apply(args, [](TensorView& v) { v.data = nullptr; });
        },
        kInvalid, view.name);
  }
}

TEST_F(ViewStatus, ViewsThatWereNeverSet) {
  for (const NamedView& view : kViews) {
    if (std::string(view.name) == "lse") continue;  // absent is fine
    ExpectRefused(
        [&](AttentionArgs& args) {
          view.apply(args, [](TensorView& v) { v = TensorView(); });
        },
        kInvalid, view.name);
  }
}

TEST_F(ViewStatus, NegativeExtents) {
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
TEST_F(ViewStatus, ShapesThatDisagree) {
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

TEST_F(ViewStatus, LargerThanThePlan) {
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

TEST_F(ViewStatus, Dtypes) {
  for (const NamedView& view : kViews) {
    for (const DType dtype :
         {DType::kBF16, DType::kF16, DType::kI8, static_cast<DType>(77)}) {
      ExpectRefused(
          [&](AttentionArgs& args) {
            view.apply(args, [dtype](TensorView& v) { v.dtype = dtype; });
          },
          view.dtype == nullptr ? kUnsupported : kInvalid, view.name);
    }
  }
}

TEST_F(ViewStatus, Strides) {
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

TEST_F(ViewStatus, OutputsWhoseElementsShareMemory) {
  for (const NamedView& view : kViews) {
    if (!view.is_output) continue;
    for (int axis = 0; axis < 3; ++axis) {
      for (const int64_t stride : {int64_t{0}, int64_t{4}}) {
        // lse has one element a row: its heads may well be 4 bytes apart.
        if (stride == 4 && std::string(view.name) == "lse") continue;
        ExpectRefused(
            [&](AttentionArgs& args) {
              view.apply(args, [=](TensorView& v) { v.stride[axis] = stride; });
            },
            kInvalid, view.name);
      }
    }
  }
}

TEST_F(ViewStatus, DataThatIsNotAlignedToItsElement) {
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

TEST_F(ViewStatus, StridesThatLeaveTheAddressSpace) {
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

TEST_F(ViewStatus, Overlap) {
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

}  // namespace
}  // namespace heed::test
