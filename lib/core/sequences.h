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
  int64_t seqlen_q;
  int64_t seqlen_k;
  int64_t causal_offset;  // resolved
};

// Sequence `index` of a run whose arguments were checked.
inline Sequence SequenceOf(const AttentionRun& run, int64_t index) {
  return {index,
          index,
          0,
          run.args.query.seqlen(),
          run.args.key.seqlen(),
          run.causal_offset};
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_SEQUENCES_H_
