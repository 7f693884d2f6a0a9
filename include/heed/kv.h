// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Key intervals: which keys each block of queries attends to.
#ifndef HEED_KV_H_
#define HEED_KV_H_

#include <cstdint>

namespace heed {

// Key positions [begin, end).
struct KeyInterval {
  int32_t begin;
  int32_t end;
};

// For each (batch, query head, query block) a sorted list of disjoint key
// intervals, as compressed rows. The list of (b, h, i), with query block i the
// positions [i * query_block_size, (i + 1) * query_block_size), is
//
//   intervals[offsets[r]] .. intervals[offsets[r + 1] - 1],
//   r = (b * num_heads + h) * num_query_blocks + i,
//   num_query_blocks = ceil(seqlen_q / query_block_size).
//
// A query sees a key where its interval list has it *and* the masks of
// AttentionParams (causal, window, sinks) allow it. The arrays are the caller's
// and are checked whole on every call: offsets from 0 and never falling,
// intervals non-empty, sorted, disjoint and inside [0, seqlen_k).
//
// query_block_size 0 means absent: every key is offered to every query.
struct KeyIntervals {
  int64_t query_block_size = 0;
  int64_t num_offsets = 0;    // batch * num_heads * num_query_blocks + 1
  int64_t num_intervals = 0;  // offsets[num_offsets - 1]
  const int64_t* offsets = nullptr;
  const KeyInterval* intervals = nullptr;
};

}  // namespace heed

#endif  // HEED_KV_H_
