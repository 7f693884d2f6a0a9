// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Packed sequences of different lengths in one call of a layer: each has the
// bits that it has alone; and what such calls refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "tests/layers/layer_case.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

constexpr int64_t kModel = 48, kHeads = 6, kKvHeads = 2, kDim = 8,
                  kCapacity = 64, kPageSize = 4;
constexpr int64_t kRowOfKeys = kKvHeads * kDim;

std::vector<int32_t> Sums(const std::vector<int64_t>& lengths) {
  std::vector<int32_t> sums = {0};
  for (const int64_t length : lengths) {
    sums.push_back(sums.back() + static_cast<int32_t>(length));
  }
  return sums;
}

int64_t Total(const std::vector<int64_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

// A batch of sequences, and what is true of all of them.
struct Batch {
  std::vector<int64_t> rows;  // of query
  std::vector<int64_t> keys;  // of cross-attention; empty: self-attention
  std::vector<int32_t> past;  // with a cache; empty: none
  bool paged = false;
  bool causal = true;
  bool alibi = false;
  int64_t rotary_dim = 0;
  DType input_dtype = DType::kF32;
  DType cache_dtype = DType::kF32;

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  const std::vector<int64_t>& NewKeys() const {
    return keys.empty() ? rows : keys;
  }
};

LayerCase CaseOf(const Batch& b) {
  LayerCase c;
  c.params.model_dim = kModel;
  c.params.num_heads = kHeads;
  c.params.num_kv_heads = kKvHeads;
  c.params.attention.causal = b.causal;
  c.seqlen_q = Total(b.rows);
  c.seqlen_k = Total(b.keys);
  c.bias = true;
  c.input_dtype = b.input_dtype;
  c.rotary_dim = b.rotary_dim;
  return c;
}

// Caches of all sequences, with keys already in them.
struct Caches {
  explicit Caches(const Batch& b)
      : key(Elements(Normal(b.size() * kCapacity * kRowOfKeys, 21),
                     b.cache_dtype)),
        value(Elements(Normal(b.size() * kCapacity * kRowOfKeys, 22),
                       b.cache_dtype)) {
    const int64_t pages = kCapacity / kPageSize;
    for (int64_t s = 0; s < b.size(); ++s) {
      for (int64_t i = 0; i < pages; ++i) {
        table.push_back(static_cast<int32_t>((pages - 1 - i) * b.size() + s));
      }
    }
  }

  // The caches of `count` sequences from `first` on.
  void Into(const Batch& b, int64_t first, int64_t count, MultiHeadArgs* args) {
    const auto view = [&](Elements* elements) {
      const ConstTensorView whole =
          b.paged ? elements->View(b.size() * kCapacity / kPageSize, kPageSize,
                                   kKvHeads, kDim)
                  : elements->View(b.size(), kCapacity, kKvHeads, kDim);
      TensorView cache;
      cache.data = const_cast<void*>(whole.data);
      cache.dtype = whole.dtype;
      std::copy(whole.extent, whole.extent + 4, cache.extent);
      std::copy(whole.stride, whole.stride + 4, cache.stride);
      if (b.paged) return cache;
      cache.data = static_cast<char*>(cache.data) + first * cache.stride[0];
      cache.extent[0] = count;
      return cache;
    };
    args->key_cache = view(&key);
    args->value_cache = view(&value);
    args->past_lengths = b.past.data() + first;
    if (!b.paged) return;
    args->pages.page_table = table.data() + first * kCapacity / kPageSize;
    args->pages.num_sequences = count;
    args->pages.pages_per_sequence = kCapacity / kPageSize;
    args->pages.table_stride = kCapacity / kPageSize;
  }

  Elements key, value;
  std::vector<int32_t> table;
};

MultiHeadShape ShapeOf(const Batch& b, bool packed) {
  MultiHeadShape shape;
  shape.batch = packed ? b.size() : 1;
  shape.seqlen_q = *std::max_element(b.rows.begin(), b.rows.end());
  shape.seqlen_new = *std::max_element(b.NewKeys().begin(), b.NewKeys().end());
  shape.seqlen_k = b.past.empty() ? shape.seqlen_new : kCapacity;
  shape.input_dtype = b.input_dtype;
  shape.cache = !b.past.empty();
  shape.key_cache_dtype = shape.value_cache_dtype = b.cache_dtype;
  shape.scores = b.alibi;
  if (!packed) return shape;
  shape.total_q = Total(b.rows);
  shape.total_new = b.keys.empty() ? 0 : Total(b.keys);
  return shape;
}

// Runs packed, or one by one; returns out, and what the caches hold then.
struct Outcome {
  std::vector<float> out, key, value;
};

std::vector<float> Held(const Elements& cache) {
  if (cache.dtype == DType::kF32) return cache.f32;
  return {cache.bits.begin(), cache.bits.end()};
}

Outcome RunBatch(const Batch& b, bool packed, int workers) {
  const LayerCase c = CaseOf(b);
  const Layer layer(c);
  const std::vector<float> slopes =
      Normal(b.size() * kHeads, 31);  // of each sequence its own
  MultiHeadPlan plan;
  const Status made =
      MakeMultiHeadPlan(c.params, ShapeOf(b, packed), {}, &plan);
  EXPECT_TRUE(made.ok()) << ToString(made);
  const WorkspaceBuffer workspace(MultiHeadWorkspaceBytes(plan, workers));
  ThreadExecutor threads(workers);
  Outcome outcome;
  outcome.out.resize(static_cast<size_t>(c.seqlen_q * kModel));
  Caches caches(b);
  MultiHeadArgs args = layer.Args();
  args.out = Bshd(outcome.out.data(), 1, c.seqlen_q, 1, kModel);
  if (!b.keys.empty() && c.seqlen_k == 0) args.key = TokensOf(args.query, 0, 0);
  const std::vector<int32_t> sums_q = Sums(b.rows), sums_k = Sums(b.keys);
  const auto run = [&](int64_t first, int64_t count, MultiHeadArgs call) {
    if (!b.past.empty()) caches.Into(b, first, count, &call);
    if (b.alibi) {
      call.scores.alibi_slopes = Bshd<const float>(
          slopes.data() + first * kHeads, count, 1, kHeads, 1);
    }
    const Status status = RunMultiHead(plan, call, workspace.get(), threads);
    EXPECT_TRUE(status.ok()) << ToString(status) << " sequence " << first;
  };
  if (packed) {
    args.cu_seqlens_q = sums_q.data();
    if (!b.keys.empty()) args.cu_seqlens_k = sums_k.data();
    args.num_sequences = b.size();
    run(0, b.size(), args);
  } else {
    for (int64_t s = 0; s < b.size(); ++s) {
      const size_t at = static_cast<size_t>(s);
      MultiHeadArgs one = args;
      one.query = TokensOf(args.query, sums_q[at], b.rows[at]);
      one.out = TokensOf(args.out, sums_q[at], b.rows[at]);
      if (!b.keys.empty()) {
        one.key = TokensOf(args.key, sums_k[at], b.keys[at]);
      }
      run(s, 1, one);
    }
  }
  EXPECT_TRUE(workspace.TailIntact());
  outcome.key = Held(caches.key);
  outcome.value = Held(caches.value);
  return outcome;
}

void ExpectTheBitsAlone(const Batch& b, const std::string& text) {
  const Outcome alone = RunBatch(b, false, 1);
  for (const int workers : {1, 3}) {
    const Outcome packed = RunBatch(b, true, workers);
    EXPECT_TRUE(SameBitsAs(packed.out, alone.out)) << text;
    EXPECT_TRUE(SameBitsAs(packed.key, alone.key)) << text;
    EXPECT_TRUE(SameBitsAs(packed.value, alone.value)) << text;
  }
}

TEST(PackedLayer, SelfAttention) {
  for (const bool causal : {false, true}) {
    Batch b;
    b.rows = {7, 1, 0, 33, 12};
    b.causal = causal;
    ExpectTheBitsAlone(b, "plain");
    b.rotary_dim = 6;
    ExpectTheBitsAlone(b, "rope");
    b.input_dtype = DType::kBF16;
    b.alibi = true;
    ExpectTheBitsAlone(b, "bf16 rows, ALiBi");
  }
}

TEST(PackedLayer, CrossAttention) {
  Batch b;
  b.rows = {3, 9, 1};
  b.keys = {20, 0, 31};
  b.causal = false;
  ExpectTheBitsAlone(b, "cross");
}

TEST(PackedLayer, PromptsChunksAndTokensOnCaches) {
  for (const bool paged : {false, true}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      Batch b;
      b.rows = {17, 1, 5, 1, 0};
      b.past = {0, 40, 13, 63, 9};
      b.paged = paged;
      b.cache_dtype = dtype;
      b.rotary_dim = 8;
      ExpectTheBitsAlone(b, paged ? "pages" : "rows");
    }
  }
}

TEST(PackedLayer, AnEncodersKeysThatWereProjectedBefore) {
  Batch b;
  b.rows = {2, 5, 1};
  b.keys = {0, 0, 0};
  b.past = {30, 11, 64};
  b.causal = false;
  ExpectTheBitsAlone(b, "no new keys");
}

// A sound call, to be spoilt.
struct Call {
  Call() : layer(CaseOf(batch)), caches(batch), sums(Sums(batch.rows)) {
    shape = ShapeOf(batch, true);
    args = layer.Args();
    args.out = Bshd(out.data(), 1, 13, 1, kModel);
    args.cu_seqlens_q = sums.data();
    args.num_sequences = 3;
    caches.Into(batch, 0, 3, &args);
  }

  Status Run() const {
    MultiHeadPlan plan;
    const Status made =
        MakeMultiHeadPlan(CaseOf(batch).params, shape, {}, &plan);
    if (!made.ok()) return made;
    const WorkspaceBuffer workspace(MultiHeadWorkspaceBytes(plan, 1));
    return RunMultiHead(plan, args, workspace.get(), SerialExecutor());
  }

  Batch batch = {{4, 1, 8}, {}, {0, 5, 9}};
  Layer layer;
  Caches caches;
  std::vector<int32_t> sums;
  std::vector<float> out = std::vector<float>(13 * kModel, -77.0f);
  MultiHeadShape shape;
  MultiHeadArgs args;
};

TEST(PackedLayer, WhatIsRefused) {
  const struct {
    const char* argument;
    std::function<void(Call*)> spoil;
  } cases[] = {
      {"cu_seqlens_q", [](Call* c) { c->args.cu_seqlens_q = nullptr; }},
      {"cu_seqlens_q", [](Call* c) { c->sums[0] = 1; }},
      {"cu_seqlens_q", [](Call* c) { c->sums[1] = 6; }},
      {"cu_seqlens_q", [](Call* c) { c->sums[3] = 12; }},
      {"cu_seqlens_q", [](Call* c) { c->sums[1] = INT32_MIN; }},
      {"cu_seqlens_q", [](Call* c) { c->shape.seqlen_q = 7; }},
      {"cu_seqlens_q",
       [](Call* c) { c->shape.total_q = c->shape.total_new = 0; }},
      {"cu_seqlens_k", [](Call* c) { c->shape.seqlen_new = 7; }},
      {"cu_seqlens_k",
       [](Call* c) {
         static constexpr int32_t kOther[] = {0, 4, 5, 12};
         c->args.cu_seqlens_k = kOther;
       }},
      {"num_sequences", [](Call* c) { c->args.num_sequences = 0; }},
      {"num_sequences", [](Call* c) { c->args.num_sequences = -1; }},
      {"num_sequences", [](Call* c) { c->shape.batch = 2; }},
      {"query", [](Call* c) { c->args.query.extent[0] = 2; }},
      {"query", [](Call* c) { c->shape.total_q = 12; }},
      {"key",
       [](Call* c) {
         c->shape.total_new = 12;
         c->args.key = c->args.query;
       }},
      {"total_new",
       [](Call* c) {
         c->shape.total_q = 0;
         c->shape.total_new = 13;
       }},
      {"total_q", [](Call* c) { c->shape.total_q = -1; }},
      {"past_lengths", [](Call* c) { c->batch.past[2] = kCapacity - 7; }},
      {"out",
       [](Call* c) {
         std::copy(c->sums.begin(), c->sums.end(),
                   reinterpret_cast<int32_t*>(c->out.data()));
         c->args.cu_seqlens_q = reinterpret_cast<int32_t*>(c->out.data());
       }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(&c - cases);
    Call call;
    c.spoil(&call);
    const std::vector<float> before = call.out;
    const std::vector<float> keys = call.caches.key.f32;
    const Status status = call.Run();
    EXPECT_FALSE(status.ok());
    EXPECT_STREQ(status.argument(), c.argument) << ToString(status);
    EXPECT_TRUE(SameBitsAs(call.out, before));
    EXPECT_TRUE(SameBitsAs(call.caches.key.f32, keys));
  }
  Call unpacked;
  unpacked.shape.total_q = unpacked.shape.total_new = 0;
  unpacked.args.cu_seqlens_q = nullptr;
  EXPECT_STREQ(unpacked.Run().argument(), "num_sequences");
  EXPECT_TRUE(Call().Run().ok());
}

}  // namespace
}  // namespace heed::test
