// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Prefill with keys gathered: each rank has the query rows of its tokens, and
// all keys and values come to all ranks.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_GATHERED_KEYS_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_GATHERED_KEYS_H_

#include <heed/attention.h>

#include "spread.h"

namespace context_parallel {

// The tokens of a rank. Under a causal mask late rows see more keys than early
// ones: of 2R pieces rank r has the r-th and the (2R - 1 - r)-th, so that all
// ranks have as much to do.
struct ZigzagTokens {
  Range low, high;
  int64_t count() const { return low.count() + high.count(); }
};

ZigzagTokens ZigzagOf(int64_t num_tokens, int ranks, int rank);

// Attends with the rows of a rank: query, out and lse of `args` have its
// tokens, the low ones first (batch 1); key and value have those of all ranks,
// in order of position. Where params has no causal_offset, row 0 of the whole
// prompt stands at key 0.
heed::Status AttendGathered(const heed::AttentionParams& params,
                            const ZigzagTokens& tokens,
                            heed::AttentionArgs args,
                            const heed::Executor& executor);

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_GATHERED_KEYS_H_
