// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The parts of a layer's call: lengths, positions, the append and attention.
#include <algorithm>
#include <cstdint>

#include "lib/core/append.h"
#include "lib/core/check.h"
#include "lib/core/rope.h"
#include "lib/layers/multi_head_call.h"

namespace heed::internal {
namespace {

int64_t PastLength(const MultiHeadArgs& args, int64_t sequence) {
  return args.past_lengths == nullptr ? 0 : args.past_lengths[sequence];
}

// Lengths with the new keys. They must be known to be sound before attention
// is shown the cache.
Status FillLengths(const MultiHeadCall& c) {
  for (int64_t s = 0; s < NumSequences(c.args); ++s) {
    const int64_t past = c.args.past_lengths[s];
    const int64_t tokens = KeyRows(c.args, s).count;
    if (past < 0 || past + tokens > c.plan.shape.seqlen_k) {
      return Invalid("past_lengths",
                     "must be 0 to what leaves the new keys in the plan's "
                     "seqlen_k")
          .WithIndex(s)
          .WithValue(past)
          .WithBound(c.plan.shape.seqlen_k - tokens);
    }
    c.memory.seqlens_k[s] = static_cast<int32_t>(past + tokens);
  }
  return Status();
}

// Where rows stand for their rope, where the caller does not say.
Status FillPositions(MultiHeadCall* c) {
  const MultiHeadArgs& args = c->args;
  const int64_t given = c->plan.params.attention.causal_offset;
  for (int64_t s = 0; s < NumSequences(args); ++s) {
    const SequenceRows rows = QueryRows(args, s), keys = KeyRows(args, s);
    const int64_t past = PastLength(args, s);
    const int64_t offset =
        given == kBottomRight ? past + keys.count - rows.count : given;
    for (int64_t i = 0; i < rows.count; ++i) {
      if (args.query_positions != nullptr) break;
      // Beyond 31 bits no table reaches; -1 is refused as well.
      const bool fits = offset >= -i && offset <= INT32_MAX - i;
      c->memory.query_positions[rows.first + i] =
          fits ? static_cast<int32_t>(offset + i) : -1;
    }
    for (int64_t i = 0; i < keys.count && args.key_positions == nullptr; ++i) {
      c->memory.key_positions[keys.first + i] = static_cast<int32_t>(past + i);
    }
  }
  if (args.query_positions == nullptr) {
    c->args.query_positions = c->memory.query_positions;
  }
  if (args.key_positions == nullptr) {
    c->args.key_positions = c->memory.key_positions;
  }
  const Status status =
      CheckRope(args.rope, c->plan.params.head_dim, c->args.query_positions,
                args.query.batch() * args.query.seqlen(), "query_positions");
  if (!status.ok()) return status;
  return CheckRope(args.rope, c->plan.params.head_dim, c->args.key_positions,
                   args.key.batch() * args.key.seqlen(), "key_positions");
}

// Attention to the cache, which the append has brought up to date.
Status PrepareCache(MultiHeadCall* c) {
  const MultiHeadArgs& args = c->args;
  AppendArgs& append = c->append;
  append.key = c->key;
  append.value = c->value;
  append.key_cache = args.key_cache;
  append.value_cache = args.value_cache;
  append.past_lengths = args.past_lengths;
  append.num_sequences = NumSequences(args);
  append.cu_seqlens = args.cu_seqlens_k;
  append.pages = args.pages;
  append.rope = args.rope;
  append.rope_positions = args.key_positions;
  if (c->appends()) {
    const Status status = CheckAppend(append);
    if (!status.ok()) return status;
  }
  const auto reached = [&](const ConstTensorView& cache) {
    if (args.pages.any()) return cache;
    return TokensOf(cache, 0, std::min(cache.seqlen(), c->plan.shape.seqlen_k));
  };
  c->attention.key = reached(args.key_cache);
  c->attention.value = reached(args.value_cache);
  c->attention.pages = args.pages;
  c->attention.ragged.num_sequences = NumSequences(args);
  c->attention.ragged.seqlens_k = c->memory.seqlens_k;
  return Status();
}

}  // namespace

Status PrepareMultiHead(MultiHeadCall* c) {
  const MultiHeadParams& p = c->plan.params;
  const MultiHeadArgs& args = c->args;
  const int64_t batch = args.query.batch();
  const int64_t rows = args.query.seqlen();
  const int64_t tokens = args.key.seqlen();
  const MultiHeadMemory& m = c->memory;
  c->query = Bshd(m.query, batch, rows, p.num_heads, p.head_dim);
  c->key = Bshd(m.key, batch, tokens, p.num_kv_heads, p.head_dim);
  c->value = Bshd(m.value, batch, tokens, p.num_kv_heads, p.head_dim_v);
  c->attended = Bshd(m.attended, batch, rows, p.num_heads, p.head_dim_v);
  c->attention.query = c->query;
  c->attention.key = c->key;
  c->attention.value = c->value;
  c->attention.out = c->attended;
  c->attention.scores = args.scores;
  Status status;
  if (c->plan.shape.cache) {
    status = FillLengths(*c);
    if (!status.ok()) return status;
  }
  if (args.rope.rotary_dim != 0) {
    status = FillPositions(c);
    if (!status.ok()) return status;
  }
  if (IsPacked(args)) {
    c->attention.ragged.num_sequences = args.num_sequences;
    c->attention.ragged.cu_seqlens_q = args.cu_seqlens_q;
    c->attention.ragged.cu_seqlens_k =
        c->plan.shape.cache ? nullptr : args.cu_seqlens_k;
  }
  if (c->plan.shape.cache) {
    status = PrepareCache(c);
    if (!status.ok()) return status;
  }
  return batch == 0 ? Status() : CheckArgs(c->plan.attention, c->attention);
}

}  // namespace heed::internal
