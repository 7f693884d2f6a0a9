// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "gathered_keys.h"

namespace context_parallel {

ZigzagTokens ZigzagOf(int64_t num_tokens, int ranks, int rank) {
  return {PartOf(num_tokens, 2 * ranks, rank),
          PartOf(num_tokens, 2 * ranks, 2 * ranks - 1 - rank)};
}

// The two pieces are two sequences of one ragged call, which read the same
// keys: their work is scheduled together. A row's bits depend on its position
// and the keys alone, so they are those of the whole prompt.
heed::Status AttendGathered(const heed::AttentionParams& params,
                            const ZigzagTokens& tokens,
                            heed::AttentionArgs args,
                            const heed::Executor& executor) {
  const int64_t first =
      params.causal_offset == heed::kBottomRight ? 0 : params.causal_offset;
  const int64_t offsets[2] = {first + tokens.low.begin,
                              first + tokens.high.begin};
  const int32_t cu_seqlens_q[3] = {0, static_cast<int32_t>(tokens.low.count()),
                                   static_cast<int32_t>(tokens.count())};
  args.ragged.num_sequences = 2;
  args.ragged.cu_seqlens_q = cu_seqlens_q;
  args.ragged.causal_offset = offsets;
  // A zero stride: both sequences have the same keys.
  for (heed::ConstTensorView* view : {&args.key, &args.value}) {
    view->extent[0] = 2;
    view->stride[0] = 0;
  }
  return heed::Attention(params, args, executor);
}

}  // namespace context_parallel
