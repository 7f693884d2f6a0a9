// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The sequences of a run: a call's batches, or those of a ragged call.
#ifndef HEED_LIB_CORE_SEQUENCES_H_
#define HEED_LIB_CORE_SEQUENCES_H_

#include <cstdint>

#include "heed/attention.h"

namespace heed::internal {

struct Sequence {
  int64_t index;        // of keys, page table, and what belongs to a sequence
  int64_t query_batch;  // where query, out and lse stand
  int64_t first_query;  // row 0 of the sequence along their seqlen
  int64_t key_batch;    // where key and value stand that are not in pages
  int64_t first_key;
  int64_t seqlen_q;
  int64_t seqlen_k;
  int64_t causal_offset;  // resolved
};

inline bool InPages(const AttentionArgs& args) { return args.pages.any(); }

// The offset of query row 0, resolved.
inline int64_t Resolved(int64_t causal_offset, int64_t seqlen_q,
                        int64_t seqlen_k) {
  return causal_offset == kBottomRight ? seqlen_k - seqlen_q : causal_offset;
}

// Sequence `index` of a ragged call whose index arrays were checked.
inline Sequence RaggedSequence(const AttentionParams& params,
                               const AttentionArgs& args, int64_t index) {
  const Ragged& ragged = args.ragged;
  Sequence s = {
      index, index, 0, index, 0, args.query.seqlen(), args.key.seqlen(), 0};
  if (ragged.cu_seqlens_q != nullptr) {
    s.query_batch = 0;
    s.first_query = ragged.cu_seqlens_q[index];
    s.seqlen_q = ragged.cu_seqlens_q[index + 1] - s.first_query;
  }
  if (ragged.seqlens_k != nullptr) {
    s.seqlen_k = ragged.seqlens_k[index];
  } else if (ragged.cu_seqlens_k != nullptr) {
    s.key_batch = 0;
    s.first_key = ragged.cu_seqlens_k[index];
    s.seqlen_k = ragged.cu_seqlens_k[index + 1] - s.first_key;
  }
  s.causal_offset =
      Resolved(ragged.causal_offset != nullptr ? ragged.causal_offset[index]
                                               : params.causal_offset,
               s.seqlen_q, s.seqlen_k);
  return s;
}

// Sequence `index` of a run whose arguments were checked: a batch, or one of a
// ragged call.
inline Sequence SequenceOf(const AttentionRun& run, int64_t index) {
  const AttentionArgs& args = run.args;
  if (args.ragged.num_sequences != 0) {
    return RaggedSequence(run.plan.params, args, index);
  }
  return {index,
          index,
          0,
          index,
          0,
          args.query.seqlen(),
          args.key.seqlen(),
          run.causal_offset};
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_SEQUENCES_H_
