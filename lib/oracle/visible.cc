// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which pairs attend: the definition in heed/attention.h, pair by pair.
#include <cstring>

#include "lib/oracle/oracle.h"
#include "lib/oracle/scores.h"

namespace heed::oracle {
namespace {

bool Offered(const KeyIntervals& lists, int64_t seqlen_q, int64_t num_heads,
             int64_t batch, int64_t head, int64_t row, int64_t key) {
  if (lists.query_block_size == 0) return true;
  const int64_t blocks =
      (seqlen_q + lists.query_block_size - 1) / lists.query_block_size;
  const int64_t list =
      (batch * num_heads + head) * blocks + row / lists.query_block_size;
  for (int64_t i = lists.offsets[list]; i < lists.offsets[list + 1]; ++i) {
    if (lists.intervals[i].begin <= key && key < lists.intervals[i].end) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool Visible(const AttentionParams& params, const AttentionArgs& args,
             int64_t batch, int64_t head, int64_t row, int64_t key) {
  const int64_t seqlen_q = args.query.seqlen();
  if (!Offered(args.key_intervals, seqlen_q, args.query.heads(), batch, head,
               row, key)) {
    return false;
  }
  if (HiddenByScores(params, args, batch, head, row, key)) return false;
  if (!args.scores.prefix_lengths.absent()) {
    int32_t prefix;
    std::memcpy(&prefix,
                internal::BytesAt(args.scores.prefix_lengths, batch, 0, 0),
                sizeof(prefix));
    if (key < prefix) return true;
  }
  // 128 bits, so that no offset or window overflows here.
  const __int128 position =
      params.causal_offset == kBottomRight
          ? static_cast<__int128>(row) + args.key.seqlen() - seqlen_q
          : static_cast<__int128>(row) + params.causal_offset;
  if (params.causal && key > position) return false;
  if (key < params.sink_size) return true;
  if (params.window_left >= 0 && key < position - params.window_left) {
    return false;
  }
  return params.window_right < 0 || key <= position + params.window_right;
}

}  // namespace heed::oracle
