// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Writes new keys and values into a cache.
#ifndef HEED_APPEND_H_
#define HEED_APPEND_H_

#include <cstdint>

#include "heed/executor.h"
#include "heed/export.h"
#include "heed/ragged.h"
#include "heed/rope.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// New rows and the cache that they go to. Row i of sequence s goes to position
// past_lengths[s] + i. Fields are set by name in a value made empty; what is
// left as it was made is absent. Either keys or values may be absent, with
// their cache.
struct AppendArgs {
  // The new rows, f32, bf16 or f16, head_dim 1 to 1024: [num_sequences, tokens,
  // num_kv_heads, head_dim]; or, with cu_seqlens, packed, [1, total,
  // num_kv_heads, head_dim].
  ConstTensorView key;
  ConstTensorView value;
  // [num_sequences, capacity, num_kv_heads, head_dim], of a float or a
  // quantised type (heed/kv.h); with pages, the pools [num_pages, page_size,
  // num_kv_heads, head_dim]. The two may lie between one another, row by row or
  // page by page, where their strides are the same.
  TensorView key_cache;
  TensorView value_cache;

  // Numbers of each sequence's keys so far, num_sequences of them.
  const int32_t* past_lengths = nullptr;
  int64_t num_sequences = 0;
  // num_sequences + 1 numbers, from 0 to the rows' seqlen, never falling:
  // sequence s has the rows [cu_seqlens[s], cu_seqlens[s + 1]). Absent:
  // sequence s is batch s.
  const int32_t* cu_seqlens = nullptr;
  // Where positions stand if caches are pools. Only entries for the new rows
  // are read; no two of these rows may fall on one place. Pages that have
  // pointers are written through them, and caches are the shape of one page;
  // two rows of one place are then found by the address that they begin at.
  Pages pages;

  // Scales and minima of a quantised cache, [as the cache, groups]: written by
  // the rules of QuantizeKv; with given_scales, those of float8 caches are read
  // instead, and may repeat (zero strides) or be absent.
  TensorView key_scale;
  TensorView value_scale;
  TensorView key_minimum;
  TensorView value_minimum;
  bool given_scales = false;
  // As in KvScales: rows go through the Hadamard rotation first.
  bool key_rotated = false;
  bool value_rotated = false;

  // Turns keys first, at their position in the sequence, or, where given, at
  // rope_positions (one a new row, in the order of `key`: batch * seqlen).
  Rope rope;
  const int32_t* rope_positions = nullptr;
};

// Appends. A number is widened, turned (keys), rotated, and rounded once, to
// nearest even, or quantised: what stands in the cache is the same bits whether
// rows come one by one or at once, to pages or not, on whatever threads. Cache
// outside the new rows stays as it is.
//
// Refuses, with nothing written: lengths, offsets and page entries outside
// their range, named with their index; two rows that would fall on one place;
// what other calls refuse of views; and outputs that overlap anything else.
// Allocates nothing.
HEED_API Status AppendKv(const AppendArgs& args,
                         const Executor& executor = SerialExecutor());

}  // namespace heed

#endif  // HEED_APPEND_H_
