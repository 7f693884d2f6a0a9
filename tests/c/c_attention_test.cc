// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door gives the bits of the C++ one, by each of its ways to run.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "heed/heed_c.h"
#include "tests/c/opaque.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

// 2 x 70 queries of 4 heads on 2 x 9000 keys of 2 heads: more than two spans.
constexpr int64_t kBatch = 2, kQueries = 70, kKeys = 9000, kHeads = 4,
                  kKvHeads = 2, kDim = 8, kDimV = 6;

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = normal(generator);
  return numbers;
}

class CAttention : public testing::Test {
 protected:
  CAttention() {
    heed_attention_params_init(&params, sizeof(params));
    params.causal = 1;
    params.softcap = 20;
    params.window_left = 6000;
    params.sink_size = 5;
    args.struct_size = sizeof(args);
    args.query = heed_bhsd(q.data(), HEED_F32, kBatch, kHeads, kQueries, kDim);
    args.key = heed_bshd(k.data(), HEED_F32, kBatch, kKeys, kKvHeads, kDim);
    args.value = heed_bshd(v.data(), HEED_F32, kBatch, kKeys, kKvHeads, kDimV);
    args.out = heed_bshd(out.data(), HEED_F32, kBatch, kQueries, kHeads, kDimV);
    args.lse = heed_bhs(lse.data(), HEED_F32, kBatch, kHeads, kQueries);
    shape.struct_size = sizeof(shape);
    status.struct_size = sizeof(status);
  }

  void Plan() {
    ASSERT_EQ(HEED_OK, heed_shape_of(&args, &shape, &status)) << Text();
    ASSERT_EQ(HEED_OK, heed_make_plan(&params, &shape, nullptr, plan,
                                      plan.bytes(), &status))
        << Text();
  }
  // Sets the workspace for so many workers.
  void Work(int32_t workers) {
    ASSERT_EQ(HEED_OK,
              heed_workspace_bytes(plan, workers, &workspace_bytes, &status));
    memory.resize(workspace_bytes + heed_workspace_alignment());
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory.data());
    const uintptr_t mask = heed_workspace_alignment() - 1;
    workspace = reinterpret_cast<void*>((at + mask) & ~mask);
  }
  std::string Text() const {
    char text[256];
    heed_status_text(&status, text, sizeof(text));
    return text;
  }
  // Compares with what C++ writes.
  void ExpectSame() const {
    std::vector<float> out_cpp(out.size()), lse_cpp(lse.size());
    AttentionParams p;
    p.causal = true;
    p.softcap = 20;
    p.window_left = 6000;
    p.sink_size = 5;
    AttentionArgs a;
    a.query = Bhsd(q.data(), kBatch, kHeads, kQueries, kDim);
    a.key = Bshd(k.data(), kBatch, kKeys, kKvHeads, kDim);
    a.value = Bshd(v.data(), kBatch, kKeys, kKvHeads, kDimV);
    a.out = Bshd(out_cpp.data(), kBatch, kQueries, kHeads, kDimV);
    a.lse = Bhs(lse_cpp.data(), kBatch, kHeads, kQueries);
    ASSERT_TRUE(Attention(p, a).ok());
    EXPECT_EQ(out_cpp, out);
    EXPECT_EQ(lse_cpp, lse);
  }

  std::vector<float> q = Random(kBatch * kQueries * kHeads * kDim, 1);
  std::vector<float> k = Random(kBatch * kKeys * kKvHeads * kDim, 2);
  std::vector<float> v = Random(kBatch * kKeys * kKvHeads * kDimV, 3);
  std::vector<float> out =
      std::vector<float>(kBatch * kQueries * kHeads * kDimV);
  std::vector<float> lse = std::vector<float>(kBatch * kQueries * kHeads);
  heed_attention_params params = {};
  heed_attention_args args = {};
  heed_attention_shape shape = {};
  heed_status status = {};
  Opaque<heed_plan> plan{heed_plan_bytes()};
  Opaque<heed_run> run{heed_run_bytes()};
  std::vector<char> memory;
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
};

TEST_F(CAttention, OneShot) {
  ASSERT_EQ(HEED_OK, heed_attention(&params, &args, nullptr, &status))
      << Text();
  ExpectSame();
}

TEST_F(CAttention, PlanOnAnExecutor) {
  Plan();
  Work(3);
  ThreadExecutor threads(3);
  const Executor cpp = threads;
  const heed_executor executor = {sizeof(executor), cpp.self, cpp.parallel_for,
                                  cpp.max_workers, 0};
  ASSERT_EQ(HEED_OK, heed_run_plan(plan, &args, workspace, workspace_bytes,
                                   &executor, &status))
      << Text();
  ExpectSame();
}

TEST_F(CAttention, IOfN) {
  for (const int32_t no_barriers : {0, 1}) {
    Plan();
    Work(2);
    std::fill(out.begin(), out.end(), -7.0f);
    const heed_run_options options = {sizeof(options), no_barriers, 0};
    ASSERT_EQ(HEED_OK, heed_begin_run(plan, &args, workspace, workspace_bytes,
                                      2, &options, run, run.bytes(), &status))
        << Text();
    const int32_t phases = heed_num_phases(run);
    EXPECT_TRUE(no_barriers == 0 || phases == 1);
    for (int32_t phase = 0; phase < phases; ++phase) {
      for (int64_t i = 0; i < heed_num_tasks(run, phase); ++i) {
        EXPECT_EQ(HEED_OK,
                  heed_run_task(run, phase, i, static_cast<int32_t>(i % 2)));
      }
    }
    ExpectSame();
    EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_run_task(run, phases, 0, 0));
    EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_run_task(run, 0, -1, 0));
    EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_run_task(run, 0, 0, 2));
    EXPECT_EQ(0, heed_num_tasks(run, phases));
  }
}

TEST_F(CAttention, Explain) {
  Plan();
  uint64_t length = 0;
  ASSERT_EQ(HEED_OK, heed_explain_plan(plan, nullptr, 0, &length, &status));
  std::string text(length + 1, '#');
  ASSERT_EQ(HEED_OK,
            heed_explain_plan(plan, &text[0], text.size(), nullptr, &status));
  EXPECT_EQ(length, std::strlen(text.c_str()));
  EXPECT_NE(std::string::npos, text.find(heed_default_target())) << text;
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_explain_plan(plan, nullptr, 1, &length, &status));
}

TEST_F(CAttention, KeyIntervals) {
  const int64_t blocks = kBatch * kHeads;
  std::vector<int64_t> offsets;
  std::vector<heed_key_interval> kept;
  for (int64_t r = 0; r <= blocks; ++r) offsets.push_back(r);
  for (int64_t r = 0; r < blocks; ++r) kept.push_back({0, 100});
  const heed_key_intervals intervals = {sizeof(intervals), kQueries,
                                        blocks + 1,        blocks,
                                        offsets.data(),    kept.data()};
  args.key_intervals = &intervals;
  params.window_left = -1;
  ASSERT_EQ(HEED_OK, heed_attention(&params, &args, nullptr, &status))
      << Text();
  const std::vector<float> listed = out;
  args.key_intervals = nullptr;
  params.causal_offset = kKeys - kQueries;
  args.key.extent[1] = args.value.extent[1] = 100;
  ASSERT_EQ(HEED_OK, heed_attention(&params, &args, nullptr, &status))
      << Text();
  EXPECT_EQ(listed, out);
  kept[3].end = kKeys + 1;
  args.key.extent[1] = args.value.extent[1] = kKeys;
  args.key_intervals = &intervals;
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_attention(&params, &args, nullptr, &status));
  EXPECT_STREQ("key_intervals", status.argument) << Text();
  EXPECT_EQ(3, status.index);
}

TEST_F(CAttention, QuantisedKeys) {
  std::vector<int8_t> bytes(k.size());
  std::vector<float> scales(kBatch * kKeys * kKvHeads);
  const heed_tensor source = args.key;
  const heed_tensor to =
      heed_bshd(bytes.data(), HEED_I8, kBatch, kKeys, kKvHeads, kDim);
  const heed_tensor scale =
      heed_bshd(scales.data(), HEED_F32, kBatch, kKeys, kKvHeads, 1);
  ASSERT_EQ(HEED_OK,
            heed_quantize_kv(&source, nullptr, &to, &scale, nullptr, &status))
      << Text();
  heed_kv_scales group = {};
  group.struct_size = sizeof(group);
  group.key_scale = scale;
  args.key = to;
  args.kv_scales = &group;
  ASSERT_EQ(HEED_OK, heed_attention(&params, &args, nullptr, &status))
      << Text();
  for (size_t i = 0; i < k.size(); ++i) {
    k[i] = static_cast<float>(bytes[i]) * scales[i / kDim];
  }
  ExpectSame();
}

TEST_F(CAttention, MergeStates) {
  params.causal = 0;
  params.window_left = -1;
  params.softcap = 0;
  ASSERT_EQ(HEED_OK, heed_attention(&params, &args, nullptr, &status));
  const std::vector<float> whole = out;
  std::vector<float> out_b(out.size()), lse_b(lse.size());
  heed_attention_args part = args;
  part.key = heed_tokens_of(args.key, 0, 4000);
  part.value = heed_tokens_of(args.value, 0, 4000);
  ASSERT_EQ(HEED_OK, heed_attention(&params, &part, nullptr, &status));
  part.key = heed_tokens_of(args.key, 4000, kKeys - 4000);
  part.value = heed_tokens_of(args.value, 4000, kKeys - 4000);
  part.out.data = out_b.data();
  part.lse.data = lse_b.data();
  ASSERT_EQ(HEED_OK, heed_attention(&params, &part, nullptr, &status));
  ASSERT_EQ(HEED_OK,
            heed_merge_states(&args.out, &args.lse, &part.out, &part.lse,
                              &args.out, &args.lse, &status))
      << Text();
  for (size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(whole[i], out[i], 1e-5);
}

TEST_F(CAttention, PlansAndRunsThatWereNotMade) {
  EXPECT_EQ(
      HEED_INVALID_ARGUMENT,
      heed_run_plan(plan, &args, workspace, workspace_bytes, nullptr, &status));
  EXPECT_STREQ("plan", status.argument);
  EXPECT_EQ(0, heed_num_phases(run));
  EXPECT_EQ(0, heed_num_tasks(run, 0));
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_run_task(run, 0, 0, 0));
}

TEST_F(CAttention, TooLittleMemory) {
  ASSERT_EQ(HEED_OK, heed_shape_of(&args, &shape, &status));
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_make_plan(&params, &shape, nullptr, plan, plan.bytes() - 1,
                           &status));
  EXPECT_EQ(static_cast<int64_t>(plan.bytes()), status.bound);
  Plan();
  Work(1);
  EXPECT_EQ(HEED_WORKSPACE,
            heed_run_plan(plan, &args, workspace, workspace_bytes - 1, nullptr,
                          &status));
  EXPECT_EQ(static_cast<int64_t>(workspace_bytes), status.bound);
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_begin_run(plan, &args, workspace, workspace_bytes, 1, nullptr,
                           run, run.bytes() - 1, &status));
  EXPECT_STREQ("run", status.argument);
}

TEST_F(CAttention, NullPointers) {
  Plan();
  Work(1);
  uint64_t bytes = 0;
  const heed_tensor& t = args.out;
  int refused = 0;
  const auto expect = [&](int32_t code, const char* argument) {
    ++refused;
    EXPECT_EQ(HEED_INVALID_ARGUMENT, code) << argument;
    EXPECT_STREQ(argument, status.argument) << Text();
    EXPECT_STREQ("is null", status.message) << Text();
  };
  expect(heed_shape_of(nullptr, &shape, &status), "args");
  expect(heed_shape_of(&args, nullptr, &status), "shape");
  const auto make = [&](const heed_attention_params* p,
                        const heed_attention_shape* s, heed_plan* to) {
    return heed_make_plan(p, s, nullptr, to, heed_plan_bytes(), &status);
  };
  expect(make(nullptr, &shape, plan), "params");
  expect(make(&params, nullptr, plan), "shape");
  expect(make(&params, &shape, nullptr), "plan");
  expect(heed_workspace_bytes(nullptr, 1, &bytes, &status), "plan");
  expect(heed_workspace_bytes(plan, 1, nullptr, &status), "bytes");
  expect(heed_explain_plan(nullptr, nullptr, 0, nullptr, &status), "plan");
  expect(heed_run_plan(nullptr, &args, workspace, workspace_bytes, nullptr,
                       &status),
         "plan");
  expect(heed_run_plan(plan, nullptr, workspace, workspace_bytes, nullptr,
                       &status),
         "args");
  expect(heed_attention(nullptr, &args, nullptr, &status), "params");
  expect(heed_attention(&params, nullptr, nullptr, &status), "args");
  expect(heed_begin_run(nullptr, &args, workspace, workspace_bytes, 1, nullptr,
                        run, run.bytes(), &status),
         "plan");
  expect(heed_begin_run(plan, nullptr, workspace, workspace_bytes, 1, nullptr,
                        run, run.bytes(), &status),
         "args");
  expect(heed_begin_run(plan, &args, workspace, workspace_bytes, 1, nullptr,
                        nullptr, run.bytes(), &status),
         "run");
  expect(heed_merge_states(nullptr, &t, &t, &t, &t, &t, &status), "out_a");
  expect(heed_merge_states(&t, nullptr, &t, &t, &t, &t, &status), "lse_a");
  expect(heed_merge_states(&t, &t, nullptr, &t, &t, &t, &status), "out_b");
  expect(heed_merge_states(&t, &t, &t, nullptr, &t, &t, &status), "lse_b");
  expect(heed_merge_states(&t, &t, &t, &t, nullptr, &t, &status), "out");
  expect(heed_merge_states(&t, &t, &t, &t, &t, nullptr, &status), "lse");
  expect(heed_quantize_kv(nullptr, nullptr, &t, &t, nullptr, &status),
         "source");
  expect(heed_quantize_kv(&t, nullptr, nullptr, &t, nullptr, &status), "to");
  expect(heed_get_target(0, nullptr, &status), "info");
  expect(heed_get_unit(0, nullptr, &status), "info");
  EXPECT_EQ(25, refused);
  // Without a place for the particulars the code is all.
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_attention(nullptr, nullptr, nullptr, nullptr));
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_plan_options_init(nullptr, 40));
  EXPECT_EQ(0, heed_num_phases(nullptr));
  EXPECT_EQ(0, heed_num_tasks(nullptr, 0));
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_run_task(nullptr, 0, 0, 0));
  EXPECT_EQ(0u, heed_status_text(nullptr, nullptr, 0));
}

}  // namespace
}  // namespace heed::test
