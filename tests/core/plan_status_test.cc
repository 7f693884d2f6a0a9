// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What MakePlan refuses, with which code and argument; and how a Status reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "heed/heed.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

struct Request {
  AttentionParams params;
  AttentionShape shape = ProblemOf("b2_h4_kv2_d16_q10_k20").shape;
  PlanOptions options;
};

// MakePlan refuses with this code and argument and leaves the plan alone.
void ExpectRefused(const std::function<void(Request&)>& spoil, StatusCode code,
                   const std::string& argument) {
  Request request;
  Plan plan;
  ASSERT_TRUE(
      MakePlan(request.params, request.shape, request.options, &plan).ok());
  spoil(request);
  plan = Plan();
  plan.tile_bytes = 4711;
  const Status status =
      MakePlan(request.params, request.shape, request.options, &plan);
  SCOPED_TRACE(argument + ": " + ToString(status));
  EXPECT_EQ(status.code(), code);
  EXPECT_EQ(std::string(status.argument()), argument);
  EXPECT_NE(std::string(status.message()), "");
  EXPECT_EQ(plan.table, nullptr);
  EXPECT_EQ(plan.tile_bytes, 4711);
}

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(PlanStatus, Params) {
  for (const float bad : {static_cast<float>(NAN), kInf, -kInf}) {
    ExpectRefused([bad](Request& r) { r.params.softmax_scale = bad; }, kInvalid,
                  "softmax_scale");
    ExpectRefused([bad](Request& r) { r.params.softcap = bad; }, kInvalid,
                  "softcap");
  }
  ExpectRefused([](Request& r) { r.params.softcap = -1e-30f; }, kInvalid,
                "softcap");
  for (const int64_t bad : {int64_t{-2}, std::numeric_limits<int64_t>::min()}) {
    ExpectRefused([bad](Request& r) { r.params.window_left = bad; }, kInvalid,
                  "window_left");
    ExpectRefused([bad](Request& r) { r.params.window_right = bad; }, kInvalid,
                  "window_right");
    ExpectRefused([bad](Request& r) { r.params.sink_size = bad; }, kInvalid,
                  "sink_size");
  }
  ExpectRefused([](Request& r) { r.params.sink_size = -1; }, kInvalid,
                "sink_size");
}

TEST(PlanStatus, NegativeExtents) {
  struct {
    int64_t AttentionShape::*extent;
    const char* name;
  } const extents[] = {
      {&AttentionShape::batch, "batch"},
      {&AttentionShape::seqlen_q, "seqlen_q"},
      {&AttentionShape::seqlen_k, "seqlen_k"},
      {&AttentionShape::num_heads, "num_heads"},
      {&AttentionShape::num_kv_heads, "num_kv_heads"},
      {&AttentionShape::head_dim, "head_dim"},
      {&AttentionShape::head_dim_v, "head_dim_v"},
  };
  for (const auto& extent : extents) {
    for (const int64_t bad :
         {int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
      ExpectRefused([&](Request& r) { r.shape.*extent.extent = bad; }, kInvalid,
                    extent.name);
    }
  }
}

TEST(PlanStatus, Heads) {
  ExpectRefused([](Request& r) { r.shape.num_heads = 5; }, kInvalid,
                "num_heads");
  ExpectRefused([](Request& r) { r.shape.num_kv_heads = 8; }, kInvalid,
                "num_heads");
  ExpectRefused([](Request& r) { r.shape.num_kv_heads = 0; }, kInvalid,
                "num_heads");
}

TEST(PlanStatus, HeadDims) {
  ExpectRefused([](Request& r) { r.shape.head_dim = 0; }, kInvalid, "head_dim");
  for (const int64_t large : {int64_t{1025}, int64_t{4096}, int64_t{1} << 40}) {
    for (const bool value : {false, true}) {
      Request request;
      (value ? request.shape.head_dim_v : request.shape.head_dim) = large;
      Plan plan;
      const Status status =
          MakePlan(request.params, request.shape, request.options, &plan);
      EXPECT_FALSE(status.ok()) << large;
      EXPECT_EQ(std::string(status.argument()),
                value ? "head_dim_v" : "head_dim");
      EXPECT_EQ(status.value(), large);
      EXPECT_EQ(status.bound(), 1024);
    }
  }
}

TEST(PlanStatus, Dtypes) {
  const struct {
    DType AttentionShape::*field;
    const char* name;
  } fields[] = {{&AttentionShape::query_dtype, "query_dtype"},
                {&AttentionShape::key_dtype, "key_dtype"},
                {&AttentionShape::value_dtype, "value_dtype"},
                {&AttentionShape::out_dtype, "out_dtype"}};
  for (const auto& field : fields) {
    for (const DType dtype :
         {DType::kI8, DType::kF8E4M3, DType::kF8E5M2, DType::kU4,
          static_cast<DType>(4711), static_cast<DType>(-1)}) {
      const bool cached = field.field == &AttentionShape::key_dtype ||
                          field.field == &AttentionShape::value_dtype;
      if (cached && SizeOf(dtype) != 0) continue;
      ExpectRefused([&](Request& r) { r.shape.*field.field = dtype; },
                    StatusCode::kUnsupported, field.name);
    }
  }
}

TEST(PlanStatus, Overflow) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  ExpectRefused([&](Request& r) { r.shape.seqlen_k = huge; },
                StatusCode::kOverflow, "seqlen_k");
  ExpectRefused([&](Request& r) { r.shape.seqlen_k = int64_t{1} << 31; },
                StatusCode::kOverflow, "seqlen_k");
  ExpectRefused([&](Request& r) { r.shape.seqlen_q = huge; },
                StatusCode::kOverflow, "seqlen_q");
  ExpectRefused(
      [&](Request& r) { r.shape.num_heads = r.shape.num_kv_heads = huge; },
      StatusCode::kOverflow, "seqlen_q");
  ExpectRefused([&](Request& r) { r.shape.batch = huge; },
                StatusCode::kOverflow, "seqlen_q");
}

TEST(PlanStatus, Targets) {
  for (const char* name : {"", "avx", "AVX2", "avx512 ", "nonsense"}) {
    ExpectRefused([name](Request& r) { r.options.target = name; },
                  StatusCode::kUnsupported, "target");
  }
  for (const int bad : {-1, 17, std::numeric_limits<int>::max(),
                        std::numeric_limits<int>::min()}) {
    ExpectRefused([bad](Request& r) { r.options.lane_groups = bad; }, kInvalid,
                  "lane_groups");
  }
}

TEST(PlanStatus, DecodeRows) {
  for (const int bad : {-2, 65, INT_MAX, INT_MIN}) {
    ExpectRefused([bad](Request& r) { r.options.decode_rows = bad; }, kInvalid,
                  "decode_rows");
  }
}

TEST(PlanStatus, NullPlan) {
  const Request request;
  const Status status =
      MakePlan(request.params, request.shape, request.options, nullptr);
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_EQ(std::string(status.argument()), "plan");
}

TEST(PlanStatus, TheFarEndsAreAccepted) {
  for (const char* text :
       {"b0_h0_kv0_d1_dv0_q0_k0", "b0_h0_kv3_d1_q1_k1", "h1_d1024_q1",
        "h1_d1_dv1024_q1_k2147483000", "h1_d1_q1_causal_off9223372036854775807",
        "h1_d1_q1_wl9223372036854775807_wr9223372036854775807_"
        "sink9223372036854775807",
        "h1_d1_q1_scale-2.3e38", "h1_d1_q1_cap2.3e38",
        "h1_d1_q1_cap1e-38_scale1e-38"}) {
    const io::Problem problem = ProblemOf(text);
    Plan plan;
    const Status status = MakePlan(problem.params, problem.shape, {}, &plan);
    EXPECT_TRUE(status.ok()) << text << ": " << ToString(status);
  }
}

// A factor of the scores that leaves f32 would make every row NaN.
TEST(PlanStatus, ScalesBeyondF32AreRefused) {
  const struct {
    const char* text;
    const char* argument;
  } cases[] = {{"h1_d1_q1_scale2.4e38", "softmax_scale"},
               {"h1_d1_q1_scale-3e38", "softmax_scale"},
               {"h1_d1_q1_cap3e38", "softcap"},
               {"h1_d1_q1_cap0.1_scale1e38", "softcap"},
               {"h1_d1_q1_cap1e-45", "softcap"}};
  for (const auto& c : cases) {
    const io::Problem problem = ProblemOf(c.text);
    Plan plan;
    const Status status = MakePlan(problem.params, problem.shape, {}, &plan);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_STREQ(status.argument(), c.argument) << c.text;
    EXPECT_EQ(plan.table, nullptr);
  }
}

// Extents that overflow are refused where others are 0, too.
TEST(PlanStatus, HugeExtentsBesideEmptyOnes) {
  AttentionShape shape;
  shape.head_dim = 1;
  for (const int64_t huge : {INT64_MAX, INT64_MAX - 20, int64_t{1} << 53}) {
    shape.seqlen_q = huge;
    Plan plan;
    const Status status = MakePlan({}, shape, {}, &plan);
    EXPECT_EQ(status.code(), StatusCode::kOverflow) << huge;
    EXPECT_EQ(plan.table, nullptr);
  }
}

TEST(PlanStatus, WorkspaceBytesCountsAtLeastOneWorker) {
  const Request request;
  Plan plan;
  ASSERT_TRUE(
      MakePlan(request.params, request.shape, request.options, &plan).ok());
  EXPECT_EQ(WorkspaceBytes(plan, 0), WorkspaceBytes(plan, 1));
  EXPECT_EQ(WorkspaceBytes(plan, -5), WorkspaceBytes(plan, 1));
  EXPECT_GT(WorkspaceBytes(plan, 2), WorkspaceBytes(plan, 1));
}

TEST(StatusText, IsOneSentence) {
  Request request;
  request.params.window_left = -2;
  Plan plan;
  const Status status = MakePlan(request.params, request.shape, {}, &plan);
  const std::string text = ToString(status);
  EXPECT_EQ(text,
            "invalid argument: window_left: must be -1 (all) or more (got -2)");
  EXPECT_EQ(status.bound(), -1);
  EXPECT_EQ(ToString(Status()), "ok");
}

TEST(StatusText, IsCutToTheCapacity) {
  const Status status =
      Status(StatusCode::kOverflow, "key", "is absurd").WithValue(INT64_MIN);
  const std::string whole = ToString(status);
  EXPECT_NE(whole.find("-9223372036854775808"), std::string::npos) << whole;
  char text[8];
  std::fill(text, text + sizeof(text), 'x');
  EXPECT_EQ(FormatStatus(status, text, 6), whole.size());
  EXPECT_EQ(std::string(text), whole.substr(0, 5));
  EXPECT_EQ(text[6], 'x');
  EXPECT_EQ(FormatStatus(status, text, 1), whole.size());
  EXPECT_EQ(text[0], '\0');
}

TEST(StatusText, EveryCodeHasAName) {
  std::string names;
  for (int code = 0; code <= 6; ++code) {
    const std::string name = NameOf(static_cast<StatusCode>(code));
    EXPECT_NE(name, "");
    EXPECT_EQ(names.find(name + ";"), std::string::npos) << name;
    names += name + ";";
  }
  EXPECT_NE(std::string(NameOf(static_cast<StatusCode>(99))), "");
}

}  // namespace
}  // namespace heed::test
