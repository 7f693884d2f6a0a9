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
  // The rows (of any type) were rotated before they were stored: queries are
  // then rotated too, which leaves the scores as they were but for rounding,
  // and `out` is rotated back. The rotation is the Hadamard transform of
  // head_dim in blocks of the largest power of two that divides it, times 1 /
  // sqrt(block): its own inverse. It spreads a channel that is larger than the
  // others over all of them. A NaN in a rotated value, or in what a row of
  // `out` is made of, reaches all channels of its block.
  bool key_rotated = false;
  bool value_rotated = false;
};

// How QuantizeKv writes.
struct QuantizeOptions {
  // Rotates rows first: see KvScales. Queries must then be told.
  bool rotate = false;
  // `scale` is read instead of written: float8 only, where one scale may serve
  // a head or a tensor (zero strides), or be absent, which is 1.
  bool given_scale = false;
};

// Writes rows as quantised ones, as KvScales describes them. `source` is f32,
// bf16 or f16, [batch, tokens, heads, head_dim], head_dim 1 to 1024; `to` has
// the same extents and the dtype to write, `scale` (and, for kU4 alone,
// `minimum`) [batch, tokens, heads, groups] as there. To append to a cache,
// hand in views of its next tokens (TokensOf). For each row, or group of kU4:
//
//   kI8      scale = max|x| / 127          q = x / scale
//   kF8E4M3  scale = max|x| / 448          q = x / scale, up to 448
//   kF8E5M2  scale = max|x| / 57344        q = x / scale, up to 57344
//   kU4      scale = (max - min) / 15      q = (x - min) / scale, minimum = min
//
// in double, rounded to the nearest, ties to even. So |x - widened| is at most
// scale / 2 (float8: 2^-4 or 2^-3 of |x|, or half a subnormal unit times scale)
// and rounding of f32. Where scale would be 0 (all numbers equal for kU4, all
// next to zero elsewhere), it is, and q is 0. Where a number is not finite, the
// scale is NaN, so the row or group reads as NaN. With a given scale, float8
// elements that are NaN stay so, infinite ones become NaN (e4m3) or stay
// (e5m2), and finite ones end at the largest finite number; a scale that is not
// finite and positive makes elements NaN.
//
// Refuses, with nothing written, what the calls above refuse of views, and
// outputs that overlap anything. Allocates nothing; one thread; costs a few
// nanoseconds an element.
HEED_API Status QuantizeKv(const ConstTensorView& source,
                           const QuantizeOptions& options, const TensorView& to,
                           const TensorView& scale, const TensorView& minimum);

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
