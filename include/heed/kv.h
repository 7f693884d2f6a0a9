// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys and values: scales of quantised ones, and which keys each block of
// queries attends to.
#ifndef HEED_KV_H_
#define HEED_KV_H_

#include <cstdint>

#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"
#include "heed/types.h"

namespace heed {

// What quantised keys and values are multiplied by. An element is the f32
//
//   kI8, kF8E4M3, kF8E5M2   f32(q) * scale              rounded once
//   kU4                     fma(f32(q), scale, minimum)  rounded once
//
// and from there on the rules of f32 hold. All are f32 views of [batch,
// seqlen_k, num_kv_heads, groups]; zero strides repeat a number, so that one a
// tensor, a head or a token is a matter of strides. `groups` is 1, and for kU4
// head_dim / 32 or head_dim / 64: group g is for channels [g * size, (g + 1) *
// size).
//
// kI8 and float8 may go without a scale, which is then 1, and have no minimum;
// kU4 needs both. Floats have none. A NaN or Inf among these numbers is as one
// in the elements that it is for: it reaches the rows that see the key, and no
// other.
struct KvScales {
  ConstTensorView key_scale;
  ConstTensorView value_scale;
  ConstTensorView key_minimum;
  ConstTensorView value_minimum;
};

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
