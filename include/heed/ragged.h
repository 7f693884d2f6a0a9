// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Batches of sequences of different lengths, and caches in pages.
#ifndef HEED_RAGGED_H_
#define HEED_RAGGED_H_

#include <cstdint>

namespace heed {

// Neighbouring sequences whose first keys are the same ones: a system prompt,
// the beams of a search, several answers to one question.
struct SharedPrefix {
  int32_t first_sequence;
  int32_t num_sequences;
  int32_t num_keys;  // that all of them have, from position 0 on
};

// Sequences of different lengths in one call: prompts, chunks of prompts and
// single tokens side by side. Each is computed as a call of its own would be,
// with the same bits, whatever stands beside it.
//
// The arrays are the caller's and are checked whole on every call. A null one
// is absent. num_sequences 0 means that the whole group is absent: every batch
// then is a sequence of query.seqlen() rows and key.seqlen() keys. Not with
// key_intervals.
struct Ragged {
  int64_t num_sequences = 0;

  // num_sequences + 1 numbers, from 0 to the query's seqlen, never falling.
  // Sequence s has the rows [cu_seqlens_q[s], cu_seqlens_q[s + 1]) of query,
  // out and lse, which are packed: their batch is 1 (Thd). Absent: their batch
  // is num_sequences, and each sequence has all seqlen_q rows of its own.
  const int32_t* cu_seqlens_q = nullptr;

  // num_sequences numbers, 0 to the key's seqlen (with pages: to the width of
  // the page table times page_size). Sequence s has its first seqlens_k[s]
  // keys; what lies behind them is never read. Absent: all keys. Required with
  // pages.
  const int32_t* seqlens_k = nullptr;

  // Instead of seqlens_k, for keys and values that are packed (batch 1) as
  // queries are: sequence s has the rows [cu_seqlens_k[s], cu_seqlens_k[s +
  // 1]). Not with pages.
  const int32_t* cu_seqlens_k = nullptr;

  // num_sequences numbers: the position of each sequence's first query row, in
  // place of AttentionParams::causal_offset (kBottomRight is allowed here too,
  // and stands for the sequence's own lengths).
  const int64_t* causal_offset = nullptr;

  // num_shared_prefixes groups of sequences, in order and apart, whose entries
  // of the page table (or page pointers) for their first num_keys keys are
  // equal, which is checked. Such keys are read once for the rows of many
  // sequences, in whole spans of 4,096, and the results keep their bits. A
  // saving only: a sequence is computed by itself where its rows do not see all
  // of the first span, or are many. Needs pages and
  // AttentionShape::shared_prefixes.
  const SharedPrefix* shared_prefixes = nullptr;
  int64_t num_shared_prefixes = 0;
};

// Keys and values in pages. `key` and `value` are then pools: [num_pages,
// page_size, num_kv_heads, head_dim], so that any layout of a page, and keys
// beside values in one pool, are a matter of strides; kv_scales lie as they do.
// Position p of sequence s stands at
//
//   page = page_table[s * table_stride + p / page_size], row p % page_size.
//
// Entries for keys that a sequence has are checked on every call to lie in [0,
// num_pages); others are never read. Sequences may share pages. page_size (from
// 1 on) and num_pages are the extents of `key`.
//
// Or pages stand anywhere, and arrays of the same shape say where: then `key`
// and `value` have no data and are the shape and strides of one page, [1,
// page_size, num_kv_heads, head_dim], and position p of sequence s stands in
// the page that begins at
//
//   key_pages[s * table_stride + p / page_size], row p % page_size.
//
// So block pointers of K and V in one array, [sequence][K, V][page], are
// key_pages = array, value_pages = array + pages, table_stride = 2 * pages.
// Entries that are needed are checked on every call: not null, aligned to the
// element, and their page apart from everything that is written.
struct Pages {
  const int32_t* page_table = nullptr;
  int64_t num_sequences = 0;       // rows of the table or the arrays
  int64_t pages_per_sequence = 0;  // entries of a row, at most
  int64_t table_stride = 0;        // entries from one row to the next

  // Instead of page_table: where pages begin. Attention only reads them.
  void* const* key_pages = nullptr;
  void* const* value_pages = nullptr;
  // Of quantised ones, the pages of their scales and minima, whose views then
  // have no data either. Where an array is null the view has its data and is
  // the same for every page, as one scale a tensor or a head is (zero strides).
  void* const* key_scale_pages = nullptr;
  void* const* value_scale_pages = nullptr;
  void* const* key_minimum_pages = nullptr;
  void* const* value_minimum_pages = nullptr;

  bool by_pointers() const {
    return key_pages != nullptr || value_pages != nullptr;
  }
  // Whether keys are in pages at all.
  bool any() const { return page_table != nullptr || by_pointers(); }
};

}  // namespace heed

#endif  // HEED_RAGGED_H_
