// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Prefill with heads exchanged (Ulysses; Jacobs et al. 2023, arXiv:2309.14509):
// each rank has the queries, keys and values of its tokens, gets those of all
// tokens for its heads, attends, and sends rows of out back.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_EXCHANGED_HEADS_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_EXCHANGED_HEADS_H_

#include <heed/attention.h>

#include "spread.h"

namespace context_parallel {

// A prompt of which rank r has PartOf(num_tokens, ranks, r), and whose heads
// [0, num_heads) it computes by parts as well. Any number of ranks up to
// num_heads will do; ranks that share a key head each get it.
struct HeadExchange {
  int ranks = 1;
  int64_t num_tokens = 0;
  int64_t num_heads = 0, num_kv_heads = 0;
  int64_t head_dim = 0, head_dim_v = 0;

  Range Tokens(int rank) const { return PartOf(num_tokens, ranks, rank); }
  Range Heads(int rank) const { return PartOf(num_heads, ranks, rank); }
  Range KvHeads(int rank) const;
  // Floats of a token's query, key and value for the heads of a rank.
  int64_t RowFloats(int rank) const;

  // Floats that one rank sends to another, on the way there and back. What a
  // rank sends lies in the order of those who get it, what it gets in that of
  // the senders.
  int64_t FloatsThere(int from, int to) const {
    return Tokens(from).count() * RowFloats(to);
  }
  int64_t FloatsBack(int from, int to) const {
    return Tokens(to).count() * Heads(from).count() * head_dim_v;
  }
};

// Before the way there: writes what `rank` sends, from the f32 tensors of its
// tokens (batch 1).
void PackTokens(const HeadExchange& exchange,
                const heed::ConstTensorView& query,
                const heed::ConstTensorView& key,
                const heed::ConstTensorView& value, float* send);

// Between: attends with the heads of `rank`. `received` are rows of all tokens
// in order of position, since ranks have tokens in order: a packed tensor of
// query, key and value, read in place. What is written is ready to be sent:
// [num_tokens][heads of the rank][head_dim_v].
heed::Status AttendHeads(const HeadExchange& exchange, int rank,
                         const heed::AttentionParams& params,
                         const float* received, const heed::Executor& executor,
                         float* send);

// After the way back: writes the rows of the tokens of `rank`, f32, batch 1,
// all heads.
void UnpackOut(const HeadExchange& exchange, int rank, const float* received,
               const heed::TensorView& out);

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_EXCHANGED_HEADS_H_
