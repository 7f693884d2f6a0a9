// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What layers refuse: each with a sentence that names the argument, out and
// caches untouched.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "tests/layers/layer_case.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr float kUntouched = -77.0f;
constexpr int64_t kBatch = 2, kRows = 6, kModel = 24, kHeads = 4, kKvHeads = 2,
                  kDim = 6, kCapacity = 20;

// A sound call with a cache and everything that may be given, to be spoilt.
class Call {
 public:
  explicit Call(bool cache = true)
      : layer_(Case(cache)),
        out_(static_cast<size_t>(kBatch * kRows * kModel), kUntouched),
        cache_(static_cast<size_t>(2 * kBatch * kCapacity * kKvHeads * kDim),
               kUntouched) {
    shape = layer_.Shape();
    shape.seqlen_k = kCapacity;
    shape.scores = true;
    args = layer_.Args();
    args.out = Bshd(out_.data(), kBatch, kRows, 1, kModel);
    args.scores.alibi_slopes = Bshd<const float>(slopes, kBatch, 1, kHeads, 1);
    if (!cache) return;
    args.key_cache = Bshd(cache_.data(), kBatch, kCapacity, kKvHeads, kDim);
    args.value_cache = Bshd(cache_.data() + cache_.size() / 2, kBatch,
                            kCapacity, kKvHeads, kDim);
    args.past_lengths = past;
  }

  void ExpectRefused(const char* argument, StatusCode code) {
    MultiHeadPlan plan;
    Status status = MakeMultiHeadPlan(Case(true).params, shape, {}, &plan);
    ASSERT_TRUE(status.ok()) << ToString(status);
    const WorkspaceBuffer buffer(MultiHeadWorkspaceBytes(plan, 1));
    Workspace workspace = buffer.get();
    if (shift != 0) workspace.data = static_cast<char*>(workspace.data) + shift;
    workspace.bytes -= missing;
    if (inside != nullptr) inside(this, workspace);
    if (forget_plan) plan.ops = nullptr;
    status = RunMultiHead(plan, args, workspace, executor);
    EXPECT_EQ(status.code(), code) << ToString(status);
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    for (const float x : out_) ASSERT_EQ(x, kUntouched);
    for (const float x : cache_) ASSERT_EQ(x, kUntouched);
    if (code == StatusCode::kOk) return;
    EXPECT_STRNE(status.message(), "");
  }

  void ExpectTaken() {
    MultiHeadPlan plan;
    ASSERT_TRUE(MakeMultiHeadPlan(Case(true).params, shape, {}, &plan).ok());
    const WorkspaceBuffer buffer(MultiHeadWorkspaceBytes(plan, 1));
    const Status status = RunMultiHead(plan, args, buffer.get(), executor);
    EXPECT_TRUE(status.ok()) << ToString(status);
  }

  // The cache in pages of 5 that have pointers.
  void UsePointers() {
    for (int i = 0; i < 16; ++i) {
      pages[i] = cache_.data() + i * 5 * kKvHeads * kDim;
    }
    args.pages.num_sequences = kBatch;
    args.pages.pages_per_sequence = args.pages.table_stride = 4;
    args.pages.key_pages = pages;
    args.pages.value_pages = pages + 8;
    for (TensorView* cache : {&args.key_cache, &args.value_cache}) {
      cache->data = nullptr;
      cache->extent[0] = 1;
      cache->extent[1] = 5;
    }
  }

  MultiHeadShape shape;
  MultiHeadArgs args;
  void* pages[16] = {};
  Executor executor = SerialExecutor();
  size_t missing = 0, shift = 0;
  bool forget_plan = false;
  std::function<void(Call*, Workspace)> inside;
  int32_t past[kBatch] = {3, 14};
  int32_t positions[kBatch * kRows] = {};
  float slopes[kBatch * kHeads] = {};
  int32_t table[kBatch * 4] = {0, 1, 2, 3, 4, 5, 6, 7};

 private:
  static LayerCase Case(bool cache) {
    LayerCase c;
    c.batch = kBatch;
    c.seqlen_q = kRows;
    c.params.model_dim = kModel;
    c.params.num_heads = kHeads;
    c.params.num_kv_heads = kKvHeads;
    c.params.attention.causal = true;
    c.cache = cache ? CacheKind::kContiguous : CacheKind::kNone;
    c.rotary_dim = 4;
    c.bias = true;
    return c;
  }

  Layer layer_;
  std::vector<float> out_, cache_;
};

using Spoil = std::function<void(Call*)>;

TEST(MultiHeadStatus, Calls) {
  const struct {
    const char* argument;
    Spoil spoil;
    StatusCode code = StatusCode::kInvalidArgument;
  } cases[] = {
      {"executor", [](Call* c) { c->executor.parallel_for = nullptr; }},
      {"executor", [](Call* c) { c->executor.max_workers = 0; }},
      {"plan", [](Call* c) { c->forget_plan = true; }},
      {"query", [](Call* c) { c->args.query.data = nullptr; }},
      {"query", [](Call* c) { c->args.query.dtype = DType::kBF16; }},
      {"query", [](Call* c) { c->args.query.extent[1] = -1; }},
      {"query", [](Call* c) { c->args.query.extent[2] = 2; }},
      {"query", [](Call* c) { c->args.query.extent[3] = kModel - 1; }},
      {"query", [](Call* c) { c->args.query.stride[1] = -4; },
       StatusCode::kUnsupported},
      {"query", [](Call* c) { c->shape.seqlen_q = kRows - 1; }},
      {"query", [](Call* c) { c->shape.batch = kBatch - 1; }},
      {"key", [](Call* c) { c->shape.seqlen_new = kRows - 1; }},
      {"key",
       [](Call* c) {
         c->args.key = c->args.query;
         c->args.key.extent[0] = 1;
       }},
      {"value",
       [](Call* c) {
         c->args.value = c->args.query;
         c->args.value.extent[1] = kRows - 1;
       }},
      {"out", [](Call* c) { c->args.out.data = nullptr; }},
      {"out", [](Call* c) { c->args.out.extent[1] = kRows - 1; }},
      {"out", [](Call* c) { c->args.out.extent[3] = kModel + 1; }},
      {"out", [](Call* c) { c->args.out.stride[1] = 0; }},
      {"out", [](Call* c) { c->args.query = c->args.out; }},
      {"out", [](Call* c) { c->args.key_cache.data = c->args.out.data; }},
      {"out",
       [](Call* c) { c->args.scores.alibi_slopes.data = c->args.out.data; }},
      {"out",
       [](Call* c) {
         c->args.weights.out.bias = static_cast<const float*>(c->args.out.data);
       }},
      {"key_cache",
       [](Call* c) {
         c->args.rope.num_positions = kCapacity;
         c->args.rope.cos = static_cast<float*>(c->args.key_cache.data);
       }},
      {"weights.query", [](Call* c) { c->args.weights.query = {}; }},
      {"weights.key",
       [](Call* c) { c->args.weights.key = c->args.weights.query; }},
      {"weights.value", [](Call* c) { c->args.weights.value.in_features = 7; }},
      {"weights.out", [](Call* c) { c->args.weights.out.out_features = 7; }},
      {"past_lengths", [](Call* c) { c->args.past_lengths = nullptr; }},
      {"past_lengths", [](Call* c) { c->past[1] = -1; }},
      {"past_lengths", [](Call* c) { c->past[1] = kCapacity - kRows + 1; }},
      {"past_lengths", [](Call* c) { c->past[0] = INT32_MAX; }},
      {"key_cache", [](Call* c) { c->args.key_cache = {}; }},
      {"key_cache", [](Call* c) { c->args.key_cache.dtype = DType::kBF16; }},
      {"key_cache",
       [](Call* c) {
         c->args.key_cache.extent[0] = c->args.value_cache.extent[0] = 1;
       }},
      {"value_cache", [](Call* c) { c->args.value_cache.extent[2] = 1; }},
      {"value_cache", [](Call* c) { c->args.value_cache.extent[3] = 5; }},
      {"rotary_dim", [](Call* c) { c->args.rope.rotary_dim = 3; }},
      {"rotary_dim", [](Call* c) { c->args.rope.rotary_dim = 8; }},
      {"cos", [](Call* c) { c->args.rope.cos = nullptr; }},
      {"query_positions", [](Call* c) { c->args.rope.num_positions = 19; }},
      {"query_positions",
       [](Call* c) {
         c->positions[3] = -1;
         c->args.query_positions = c->positions;
       }},
      {"out",
       [](Call* c) {
         c->args.query_positions = static_cast<int32_t*>(c->args.out.data);
       }},
      {"key_cache",
       [](Call* c) {
         c->args.key_positions = static_cast<int32_t*>(c->args.key_cache.data);
       }},
      {"key_positions",
       [](Call* c) {
         c->positions[3] = 4096;
         c->args.key_positions = c->positions;
       }},
      {"key_positions",
       [](Call* c) {
         c->args.rope = {};
         c->args.key_positions = c->positions;
       }},
      {"page_table",
       [](Call* c) {
         c->args.pages.page_table = c->table;
         c->args.pages.num_sequences = kBatch;
         c->args.pages.pages_per_sequence = c->args.pages.table_stride = 4;
         for (TensorView* cache : {&c->args.key_cache, &c->args.value_cache}) {
           cache->extent[0] = 7;
           cache->extent[1] = 5;
           cache->stride[0] = 5 * cache->stride[1];
         }
       }},
      {"key_pages",
       [](Call* c) {
         c->UsePointers();
         c->pages[1] = c->args.out.data;
       }},
      {"value_pages",
       [](Call* c) {
         c->UsePointers();
         c->pages[9] = const_cast<float*>(c->args.rope.cos);
       }},
      {"alibi_slopes",
       [](Call* c) { c->args.scores.alibi_slopes.extent[2] = 3; }},
      {"scores", [](Call* c) { c->shape.scores = false; }},
      {"workspace", [](Call* c) { c->missing = 1; }, StatusCode::kWorkspace},
      {"workspace", [](Call* c) { c->shift = 4; }, StatusCode::kWorkspace},
      {"workspace",
       [](Call* c) {
         c->inside = [](Call* call, Workspace w) {
           call->args.query.data = w.data;
         };
       }},
      {"workspace",
       [](Call* c) {
         c->inside = [](Call* call, Workspace w) {
           call->args.scores.alibi_slopes.data = w.data;
         };
       }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(&c - cases);
    Call call;
    c.spoil(&call);
    call.ExpectRefused(c.argument, c.code);
  }
  Call().ExpectTaken();
}

TEST(MultiHeadStatus, WhatBelongsToACache) {
  const struct {
    const char* argument;
    Spoil spoil;
  } cases[] = {
      {"key_cache", [](Call* c) { c->args.key_cache = Call().args.key_cache; }},
      {"past_lengths", [](Call* c) { c->args.past_lengths = c->past; }},
      {"pages", [](Call* c) { c->args.pages.page_table = c->table; }},
      {"key", [](Call* c) { c->shape.seqlen_k = kRows - 1; }},
  };
  for (const auto& c : cases) {
    Call call(false);
    c.spoil(&call);
    call.ExpectRefused(c.argument, StatusCode::kInvalidArgument);
  }
  Call(false).ExpectTaken();
}

TEST(MultiHeadStatus, EmptyCallsWriteNothing) {
  Call none;
  none.args.query.extent[0] = none.args.out.extent[0] = 0;
  none.args.key_cache.extent[0] = none.args.value_cache.extent[0] = 0;
  none.args.scores = {};
  none.ExpectRefused("", StatusCode::kOk);
  Call rows;
  rows.args.query.extent[1] = rows.args.out.extent[1] = 0;
  rows.ExpectRefused("", StatusCode::kOk);
}

TEST(MultiHeadStatus, Plans) {
  const struct {
    const char* argument;
    std::function<void(MultiHeadParams*, MultiHeadShape*)> spoil;
    StatusCode code = StatusCode::kInvalidArgument;
  } cases[] = {
      {"model_dim", [](auto* p, auto*) { p->model_dim = 0; }},
      {"key_dim", [](auto* p, auto*) { p->key_dim = -1; }},
      {"num_heads", [](auto* p, auto*) { p->num_heads = 0; }},
      {"num_heads", [](auto* p, auto*) { p->num_kv_heads = 3; }},
      {"head_dim", [](auto* p, auto*) { p->num_heads = 7; }},
      {"head_dim", [](auto* p, auto*) { p->head_dim = 1025; },
       StatusCode::kUnsupported},
      {"head_dim", [](auto* p, auto*) { p->head_dim = -1; }},
      {"head_dim_v", [](auto* p, auto*) { p->head_dim_v = -1; }},
      {"out_dim", [](auto* p, auto*) { p->out_dim = int64_t{1} << 40; }},
      {"softmax_scale",
       [](auto* p, auto*) { p->attention.softmax_scale = NAN; }},
      {"window_left", [](auto* p, auto*) { p->attention.window_left = -2; }},
      {"batch", [](auto*, auto* s) { s->batch = -1; }},
      {"seqlen_q", [](auto*, auto* s) { s->seqlen_q = int64_t{1} << 31; }},
      {"seqlen_new", [](auto*, auto* s) { s->seqlen_new = -1; }},
      {"input_dtype", [](auto*, auto* s) { s->input_dtype = DType::kI8; },
       StatusCode::kUnsupported},
      {"out_dtype", [](auto*, auto* s) { s->out_dtype = DType::kU4; },
       StatusCode::kUnsupported},
      {"key_cache_dtype",
       [](auto*, auto* s) { s->key_cache_dtype = DType::kI8; },
       StatusCode::kUnsupported},
      {"batch",
       [](auto* p, auto* s) {
         s->batch = s->seqlen_q = s->seqlen_k = 1 << 20;
         p->model_dim = INT32_MAX;
         p->num_heads = p->num_kv_heads = 1;
         p->head_dim = 8;
       },
       StatusCode::kOverflow},
      {"batch",
       [](auto* p, auto* s) {
         s->batch = s->seqlen_q = s->seqlen_k = 1 << 14;
         p->model_dim = INT32_MAX;
         p->num_heads = p->num_kv_heads = 1;
         p->head_dim = 8;
       },
       StatusCode::kOverflow},
  };
  for (const auto& c : cases) {
    MultiHeadParams params;
    params.model_dim = 32;
    params.num_heads = 4;
    params.num_kv_heads = 2;
    MultiHeadShape shape;
    shape.batch = 1;
    shape.seqlen_q = shape.seqlen_k = 4;
    c.spoil(&params, &shape);
    MultiHeadPlan plan;
    const Status status = MakeMultiHeadPlan(params, shape, {}, &plan);
    EXPECT_EQ(status.code(), c.code) << ToString(status);
    EXPECT_STREQ(status.argument(), c.argument) << ToString(status);
    EXPECT_EQ(plan.ops, nullptr);
  }
  MultiHeadOptions options;
  options.target = "abacus";
  MultiHeadPlan plan;
  MultiHeadParams params;
  params.model_dim = params.num_heads = 1;
  EXPECT_EQ(MakeMultiHeadPlan(params, {}, options, &plan).code(),
            StatusCode::kUnsupported);
  EXPECT_STREQ(MakeMultiHeadPlan(params, {}, {}, nullptr).argument(), "plan");
}

}  // namespace
}  // namespace heed::test
