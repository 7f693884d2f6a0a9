// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where tensors lie in memory leaves no trace in the result: layouts, padding,
// alignment, repeated and shared inputs, and who else is in the batch.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

using eval::Layout;

class AttentionMemory : public OnEveryTarget {};

TEST_P(AttentionMemory, Layouts) {
  for (const Layout layout :
       {Layout::kBshd, Layout::kBhsd, Layout::kPacked, Layout::kPadded}) {
    eval::WorkloadOptions options;
    options.layout = layout;
    for (const char* problem :
         {"b2_h4_kv2_d24_q70_k70_causal", "b2_h3_d17_dv9_q20_k70",
          "h2_kv1_d64_q33_k140"}) {
      SCOPED_TRACE("layout " + std::to_string(static_cast<int>(layout)));
      CheckProblem(GetParam(), problem, options);
    }
  }
}

TEST_P(AttentionMemory, ElementAlignmentIsEnough) {
  for (int misalign = 0; misalign < 16; misalign += Quick() ? 5 : 1) {
    eval::WorkloadOptions options;
    options.misalign = misalign;
    for (const char* problem : {"h2_d32_q21_k70", "h4_kv1_d7_q9_k66_causal"}) {
      SCOPED_TRACE("misalign " + std::to_string(misalign));
      CheckProblem(GetParam(), problem, options);
    }
  }
}

// A zero stride repeats an input: the same as writing it out.
TEST_P(AttentionMemory, ZeroStridesRepeat) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b3_h4_kv2_d16_q20_k70_causal"), {});
  for (int dimension = 0; dimension < 3; ++dimension) {
    eval::Tensors repeated = tensors;
    repeated.query.view.stride[dimension] = 0;
    repeated.key.view.stride[dimension] = 0;
    repeated.value.view.stride[dimension] = 0;
    SCOPED_TRACE("dimension " + std::to_string(dimension));
    Checker(GetParam(), repeated.problem.params, repeated).Check();
  }
}

// As multi-head latent attention has it: the value is the key's first part.
TEST_P(AttentionMemory, KeyAndValueMayAlias) {
  // In the tile kernel, and (one query a head) in the decode kernel.
  for (const char* problem :
       {"h8_kv1_d72_dv64_q9_k130_causal", "h8_kv1_d72_dv64_q9_k130_bf16_causal",
        "h4_kv1_d72_dv64_q1_k130_f16"}) {
    SCOPED_TRACE(problem);
    eval::Tensors tensors = eval::MakeTensors(ProblemOf(problem), {});
    tensors.value.memory = tensors.key.memory;
    tensors.value.view = tensors.key.view;
    tensors.value.view.extent[3] = 64;
    const TensorView& out = tensors.out.view;
    tensors.out = eval::MakeTensor(out.batch(), out.seqlen(), out.heads(),
                                   out.head_dim(), Layout::kBshd);
    Checker(GetParam(), tensors.problem.params, tensors).Check();
  }
}

// One sequence of a batch, one query head of a group, alone.
TEST_P(AttentionMemory, BatchAndHeadsAreIndependent) {
  const eval::Tensors all =
      eval::MakeTensors(ProblemOf("b3_h6_kv2_d16_q30_k90_causal"), {});
  const AttentionParams& params = all.problem.params;
  const RunConfig config{GetParam()};
  ASSERT_TRUE(RunOn(config, params, all.Args()).ok());
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t h = 0; h < 6; ++h) {
      const auto pick = [b](const eval::Tensor& tensor, int64_t head) {
        eval::Tensor picked = tensor;
        picked.view.data = tensor.At(b, 0, head);
        picked.view.extent[0] = picked.view.extent[2] = 1;
        return picked;
      };
      eval::Tensors one = all;
      one.query = pick(all.query, h);
      one.key = pick(all.key, h / 3);
      one.value = pick(all.value, h / 3);
      one.out = eval::MakeTensor(1, 30, 1, 16, Layout::kBshd);
      one.lse = eval::MakeTensor(1, 30, 1, 1, Layout::kBshd);
      ASSERT_TRUE(RunOn(config, params, one.Args()).ok());
      EXPECT_TRUE(SameBits(one.out, pick(all.out, h)))
          << "batch " << b << ", head " << h;
      EXPECT_TRUE(SameBits(one.lse, pick(all.lse, h)))
          << "batch " << b << ", head " << h;
    }
  }
}

// One plan made for the largest call serves smaller ones, with the same bits
// and the same workspace.
TEST_P(AttentionMemory, OnePlanServesAGrowingCache) {
  const io::Problem largest = ProblemOf("b2_h4_kv2_d16_q40_k300_causal");
  PlanOptions options;
  options.target = GetParam().c_str();
  Plan plan;
  ASSERT_TRUE(MakePlan(largest.params, largest.shape, options, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
  for (const char* text :
       {"b2_h4_kv2_d16_q40_k300_causal", "b1_h4_kv2_d16_q1_k65_causal",
        "b2_h4_kv2_d16_q7_k0_causal", "b1_h4_kv2_d16_q40_k41_causal"}) {
    SCOPED_TRACE(text);
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const Checker checker(GetParam(), largest.params, tensors);
    ASSERT_TRUE(
        heed::Run(plan, tensors.Args(), workspace.get(), SerialExecutor())
            .ok());
    EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse));
    EXPECT_TRUE(workspace.TailIntact());
  }
}

// Rows that lie gigabytes apart: all offsets are computed in 64 bits. The
// memory between them is reserved but never touched.
class FarApart {
 public:
  explicit FarApart(const eval::Tensor& from) {
    memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) return;
    const int64_t dim = from.view.head_dim();
    float* data = static_cast<float*>(memory_);
    tensor_ = {from.memory,
               Strided(data, 1, kRows, 1, dim, kRows * kStride, kStride, dim)};
    for (int64_t s = 0; s < kRows; ++s) {
      std::copy_n(from.At(0, s, 0), dim, tensor_.At(0, s, 0));
    }
  }
  ~FarApart() {
    if (memory_ != MAP_FAILED) munmap(memory_, kBytes);
  }
  FarApart(const FarApart&) = delete;
  FarApart& operator=(const FarApart&) = delete;

  bool ok() const { return memory_ != MAP_FAILED; }
  const eval::Tensor& tensor() const { return tensor_; }
  static constexpr int64_t kRows = 3;

 private:
  static constexpr int64_t kStride = (int64_t{1} << 30) + 16;  // elements
  static constexpr size_t kBytes = static_cast<size_t>(kRows * kStride) * 4;
  void* memory_;
  eval::Tensor tensor_;
};

TEST_P(AttentionMemory, OffsetsBeyondThirtyTwoBits) {
  const eval::Tensors near = eval::MakeTensors(ProblemOf("h1_d4_q3_k3"), {});
  const FarApart query(near.query), key(near.key), value(near.value),
      out(near.out), lse(near.lse);
  for (const FarApart* far : {&query, &key, &value, &out, &lse}) {
    ASSERT_TRUE(far->ok()) << "no address space";
  }
  AttentionArgs args;
  args.query = query.tensor().view;
  args.key = key.tensor().view;
  args.value = value.tensor().view;
  args.out = out.tensor().view;
  args.lse = lse.tensor().view;
  const Checker checker(GetParam(), {}, near);
  const Status status = RunOn(RunConfig{GetParam()}, {}, args);
  ASSERT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(checker.Matches(out.tensor(), lse.tensor()));
}

// More than 2^31 elements in key, by repeating one head (far fewer where tests
// are kept quick).
TEST_P(AttentionMemory, ElementCountsBeyondThirtyTwoBits) {
  const int64_t heads = Quick() ? 1 << 6 : 1 << 16;
  const eval::Tensors one =
      eval::MakeTensors(ProblemOf("h1_d1024_dv1_q1_k33"), {});
  const Checker checker(GetParam(), {}, one);
  ASSERT_TRUE(RunOn(RunConfig{GetParam()}, {}, one.Args()).ok());
  eval::Tensors many = one;
  for (eval::Tensor* tensor : {&many.query, &many.key, &many.value}) {
    tensor->view.extent[2] = heads;
    tensor->view.stride[2] = 0;
  }
  many.out = eval::MakeTensor(1, 1, heads, 1, Layout::kBshd);
  many.lse = eval::MakeTensor(1, 1, heads, 1, Layout::kBhsd);
  ASSERT_TRUE(RunOn(RunConfig{GetParam()}, {}, many.Args()).ok());
  for (int64_t head = 0; head < heads; ++head) {
    ASSERT_EQ(*many.out.At(0, 0, head), *one.out.At(0, 0, 0)) << head;
    ASSERT_EQ(*many.lse.At(0, 0, head), *one.lse.At(0, 0, 0)) << head;
  }
}

HEED_ON_EVERY_TARGET(AttentionMemory);

}  // namespace
}  // namespace heed::test
