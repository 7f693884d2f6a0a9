// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What is refused about a quantised cache: parts that are missing, too many or
// do not fit.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

class ScaleStatus : public ::testing::Test {
 protected:
  // The sentence about `text`, spoiled; nothing is written.
  std::string Runs(const std::string& text,
                   const std::function<void(AttentionArgs&)>& spoil) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    Plan plan;
    EXPECT_TRUE(MakePlan({}, tensors.problem.shape, {}, &plan).ok());
    const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
    AttentionArgs args = tensors.Args();
    EXPECT_TRUE(heed::Run(plan, args, workspace.get(), SerialExecutor()).ok());
    tensors.ClearOutput();
    spoil(args);
    const Status status =
        heed::Run(plan, args, workspace.get(), SerialExecutor());
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(Untouched(tensors.out));
    EXPECT_TRUE(Untouched(tensors.lse));
    return ToString(status);
  }

  const std::string i8_ = "b2_h4_kv2_d8_dv6_q5_k7_kvi8";
  const std::string u4_ = "b2_h4_kv2_d64_dv32_q5_k7_kvu4";
  const std::string f32_ = "b2_h4_kv2_d8_dv6_q5_k7";
};

TEST_F(ScaleStatus, OfRows) {
  EXPECT_EQ(Runs(i8_, [](auto& a) { a.kv_scales.key_scale.extent[1] = 6; }),
            "invalid argument: key_scale[1]: must have the seqlen of its "
            "tensor (got 6, needs 7)");
  EXPECT_EQ(Runs(i8_, [](auto& a) { a.kv_scales.value_scale.extent[0] = 1; }),
            "invalid argument: value_scale[0]: must have the batch of its "
            "tensor (got 1, needs 2)");
  EXPECT_EQ(Runs(i8_, [](auto& a) { a.kv_scales.key_scale.extent[2] = 4; }),
            "invalid argument: key_scale[2]: must have the heads of its tensor "
            "(got 4, needs 2)");
  EXPECT_EQ(Runs(i8_,
                 [](auto& a) {
                   a.kv_scales.key_scale.extent[3] = 2;
                   a.kv_scales.key_scale.stride[3] = 4;
                 }),
            "invalid argument: key_scale[3]: must be one number a row (got 2, "
            "needs 1)");
  EXPECT_EQ(Runs(i8_,
                 [](auto& a) {
                   a.kv_scales.value_minimum = a.kv_scales.value_scale;
                 }),
            "invalid argument: value_minimum: is given for a tensor that is "
            "not u4");
  EXPECT_EQ(
      Runs(i8_, [](auto& a) { a.kv_scales.key_scale.dtype = DType::kBF16; }),
      "unsupported: key_scale: must be f32");
  EXPECT_EQ(Runs(i8_, [](auto& a) { a.kv_scales.value_scale.data = nullptr; }),
            "invalid argument: value_scale: is null");
}

TEST_F(ScaleStatus, OfFloats) {
  static const float kOne = 1.0f;
  const ConstTensorView one = Strided(&kOne, 2, 7, 2, 1, 0, 0, 0);
  EXPECT_EQ(Runs(f32_, [&](auto& a) { a.kv_scales.key_scale = one; }),
            "invalid argument: key_scale: is given for a tensor that is not "
            "quantised");
  EXPECT_EQ(Runs(f32_, [&](auto& a) { a.kv_scales.value_minimum = one; }),
            "invalid argument: value_minimum: is given for a tensor that is "
            "not quantised");
}

TEST_F(ScaleStatus, OfGroups) {
  EXPECT_EQ(
      Runs(u4_, [](auto& a) { a.kv_scales.key_scale = ConstTensorView(); }),
      "invalid argument: key_scale: is missing: u4 needs one");
  EXPECT_EQ(
      Runs(u4_, [](auto& a) { a.kv_scales.value_minimum = ConstTensorView(); }),
      "invalid argument: value_minimum: is missing: u4 needs one");
  EXPECT_EQ(Runs(u4_,
                 [](auto& a) {
                   a.kv_scales.value_scale.extent[3] = 3;
                   a.kv_scales.value_scale.stride[3] = 4;
                 }),
            "invalid argument: value_scale[3]: must be one number a group of "
            "32 or 64 (got 3)");
  EXPECT_EQ(Runs(u4_,
                 [](auto& a) {
                   a.kv_scales.key_minimum.extent[3] = 2;
                   a.kv_scales.key_minimum.stride[3] = 4;
                 }),
            "invalid argument: key_minimum[3]: must have the groups of its "
            "scale (got 2, needs 1)");
}

TEST_F(ScaleStatus, OfRotations) {
  EXPECT_EQ(Runs(i8_, [](auto& a) { a.kv_scales.key_rotated = true; }),
            "invalid argument: key_rotated: differs from the plan's");
  EXPECT_EQ(Runs(f32_, [](auto& a) { a.kv_scales.value_rotated = true; }),
            "invalid argument: value_rotated: differs from the plan's");
}

// What a call with other tensors would be, had the plan been made for it.
TEST_F(ScaleStatus, OfPackedRows) {
  EXPECT_EQ(Runs(u4_, [](auto& a) { a.key.extent[3] = 63; }),
            "invalid argument: key[3]: must have an even head_dim, as u4 are "
            "packed (got 63)");
  EXPECT_EQ(Runs(u4_, [](auto& a) { a.key.extent[3] = 62; }),
            "invalid argument: key[3]: must be the query's head_dim (got 62, "
            "needs 64)");
  EXPECT_EQ(Runs(u4_, [](auto& a) { a.key.stride[3] = 2; }),
            "unsupported: key[3]: must have an innermost stride of one element "
            "(got 2 bytes, needs 1)");
  const u4x2* const none = nullptr;
  EXPECT_LT(Strided(none, 2, 7, 2, 64, 896, 129, 64).stride[1], 0);
  EXPECT_EQ(Strided(none, 2, 7, 2, 64, 896, 128, 64).stride[1], 64);
}

TEST_F(ScaleStatus, Overlap) {
  EXPECT_EQ(Runs(u4_,
                 [](auto& a) {
                   a.lse.data = const_cast<void*>(a.kv_scales.key_minimum.data);
                 }),
            "invalid argument: lse: overlaps key_minimum");
  EXPECT_EQ(Runs(i8_,
                 [](auto& a) {
                   a.lse.data = const_cast<void*>(a.kv_scales.value_scale.data);
                 }),
            "invalid argument: lse: overlaps value_scale");
  // The last byte of packed rows, and none behind it.
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h1_d32_dv32_q1_k1_kvu4"), {});
  alignas(4) char memory[16 + 128];
  AttentionArgs args = tensors.Args();
  args.key.data = memory;
  args.out.data = memory + 16;
  EXPECT_TRUE(Attention({}, args).ok());
  args.out.data = memory + 12;
  EXPECT_EQ(ToString(Attention({}, args)),
            "invalid argument: out: overlaps key");
}

}  // namespace
}  // namespace heed::test
