// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse attention that costs what it keeps: plans of key intervals, made from
// patterns (heed/patterns.h) or from the arrays of other libraries, inspected,
// and run by the exact kernel. For variants, see heed/sparse_variant.h and
// docs/sparse.md.
#ifndef HEED_SPARSE_H_
#define HEED_SPARSE_H_

#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/kv.h"
#include "heed/patterns.h"
#include "heed/scratch.h"
#include "heed/status.h"

namespace heed {

// Which keys the query rows of one problem attend to: per (batch, query head,
// block of query rows) a sorted list of disjoint key intervals in tokens, as in
// KeyIntervals. What a row sees is its list, as far as the masks of `params`
// allow, and where an interval is partial, of that what the row's bits say.
//
// A plain value that points into memory of the caller's. Never written after it
// was made: use it from any number of threads, and in every layer whose call
// has these extents and masks.
struct SparsePlan {
  // Only the masks: causal, causal_offset (resolved), windows and sinks.
  AttentionParams params;
  int64_t batch = 0;      // 1 serves any: all sequences have the same lists
  int64_t num_heads = 0;  // 1 serves any: all heads have the same lists
  int64_t seqlen_q = 0;
  int64_t seqlen_k = 0;
  int64_t query_block_size = 0;  // rows, from row 0 on, that share a list
  int64_t num_intervals = 0;
  int64_t num_words = 0;
  // batch * num_heads * query blocks + 1, from 0 on, never falling.
  const int64_t* offsets = nullptr;
  const KeyInterval* intervals = nullptr;
  // Of each interval: -1 where every row of the block sees it whole, else the
  // word from which its bits stand. Null where no interval is partial. Row i of
  // the block has ceil(length / 64) words; its key begin + t is seen where bit
  // t % 64 of word t / 64 is set.
  const int64_t* bits = nullptr;
  const uint64_t* words = nullptr;
};

// What a plan comes to, over all batches and heads of its own.
struct SparseStats {
  double visible_pairs = 0;   // that the masks leave
  double kept_pairs = 0;      // of them, that the plan keeps
  double computed_pairs = 0;  // rows of a block times keys of its list
  int64_t partial_intervals = 0;
  int64_t longest_list = 0;  // keys
  int64_t bytes = 0;         // of the plan's arrays
};

// Checks every number of a plan that is an index, as of one read from a file.
// Errors name the array and the entry. Costs as much as reading it.
HEED_API Status CheckSparsePlan(const SparsePlan& plan);

// Counts. Needs a plan that CheckSparsePlan takes.
HEED_API SparseStats StatsOf(const SparsePlan& plan);

// ---- Plans as bytes ---------------------------------------------------------

// Returns the bytes that a plan takes written, or 0 for one that was never
// made. Needs a plan that CheckSparsePlan takes, as does writing it.
HEED_API int64_t BytesOf(const SparsePlan& plan);

// Writes a plan: the same bytes on every machine. Errors: kInvalidArgument for
// a plan that was never made, and for `size` other than BytesOf(plan), with
// nothing written.
//
// All numbers are little-endian. "heedplan", u32 version 1, u32 flags (1: there
// are bits); then i64 each, in this order, causal, causal_offset, window_left,
// window_right, sink_size, batch, num_heads, seqlen_q, seqlen_k,
// query_block_size, num_intervals, num_words; then the arrays: offsets as i64,
// intervals as pairs of i32, bits as i64, words as u64.
HEED_API Status WriteSparsePlan(const SparsePlan& plan, void* bytes,
                                int64_t size);

// Reads a plan that was written, from bytes that may be anything: every number
// is checked, as by CheckSparsePlan. The plan's arrays live in `memory`, which
// is asked for no more than `size` and some. Errors, with *plan untouched:
// kInvalidArgument naming the number, or the array and the entry, kUnsupported
// for another version, kOverflow for extents that no plan counts, kOutOfMemory.
HEED_API Status ReadSparsePlan(const void* bytes, int64_t size,
                               const Scratch& memory, SparsePlan* plan);

struct SparseOptions {
  // Query rows that share a list: 0 takes the size that costs least on a sample
  // of the rows, of 64, 16 and 1.
  int64_t query_block_size = 0;
  // Keep looks at `head`: one list a head. Else one serves all of them.
  bool per_head = false;
};

// Makes a plan of a pattern for the extents of `shape` (dtypes and head
// dimensions do not matter) under the masks of `params`. The plan lives in
// `memory`, as does what making it needs. Asks the pattern three or four times
// a query row (or, where it steps, a block of rows; or, without Intervals, of
// every pair, which costs as much as some attention does). The plan is the same
// for any executor. Errors: kInvalidArgument for extents and masks that
// MakePlan refuses and a negative query_block_size, kOutOfMemory.
template <typename P>
Status MakeSparsePlan(const AttentionParams& params,
                      const AttentionShape& shape, const P& pattern,
                      const SparseOptions& options, const Scratch& memory,
                      const Executor& executor, SparsePlan* plan);

// Computes attention by a plan: `params` may differ from the plan's in what is
// no mask. Refuses what Run refuses, and tensors with other extents than the
// plan's and key_intervals of the call's own. `scratch`
// gives what the exact kernel needs, and for lists and masks about 16 MiB, or
// one query block's where that is more; with a hook or a tree_mask beside
// partial intervals, a byte for each pair of a row and a key. `target` is as in
// PlanOptions. The arrays of the plan are taken as sound: for others see
// CheckSparsePlan.
HEED_API Status AttendSparse(const SparsePlan& plan,
                             const AttentionParams& params,
                             const AttentionArgs& args, const Scratch& scratch,
                             const Executor& executor,
                             const char* target = nullptr);

// The same for the sequences of a ragged call, in pages or not: sequence s by
// plans[s], or all by a single one. Each has the bits that it has alone, and
// one comes after the other, by all workers. A plan's batch is 1. Refuses, with
// nothing written, plans that are not for their sequence (the status has its
// index), score inputs, scales and shared prefixes; where memory is short, some
// sequences may have been written.
HEED_API Status AttendSparse(const SparsePlan* plans, int64_t num_plans,
                             const AttentionParams& params,
                             const AttentionArgs& args, const Scratch& scratch,
                             const Executor& executor,
                             const char* target = nullptr);

// ---- From and to other libraries --------------------------------------------
//
// Grids of blocks are cut from row 0 and key 0 on; the last may be short.

struct BlockGridShape {
  int64_t batch = 1;      // 1 serves any
  int64_t num_heads = 1;  // 1 serves any
  int64_t seqlen_q = 0;
  int64_t seqlen_k = 0;
  int64_t query_block_size = 0;
  int64_t key_block_size = 0;
};

// Makes a plan of a map of bytes [batch][num_heads][query blocks][key blocks],
// not 0 meaning that the block is kept. Neighbours become one interval.
HEED_API Status PlanFromBlockMap(const AttentionParams& params,
                                 const BlockGridShape& shape,
                                 const uint8_t* map, const Scratch& memory,
                                 SparsePlan* plan);

// Makes a plan of compressed rows of blocks: BSR, CSR, FlashInfer's indptr and
// indices, ONNX Runtime's block_row_indices and block_col_indices of a layout.
// Row r = (b * num_heads + h) * query blocks + i keeps the key blocks
// indices[indptr[r]] to indices[indptr[r + 1] - 1], which rise. Errors name the
// array and the entry: indptr that does not start at 0 or falls, indices that
// do not rise or leave the keys.
HEED_API Status PlanFromBlockRows(const AttentionParams& params,
                                  const BlockGridShape& shape,
                                  const int32_t* indptr, const int32_t* indices,
                                  const Scratch& memory, SparsePlan* plan);

// Writes the map of counted rows of blocks: FlexAttention's kv_num_blocks
// [batch][num_heads][query blocks] and kv_indices [...][row_stride], of which
// each row has so many, in any order. A BlockMask is two of them:
//
//   (patterns::BlockMap(partial, ...) & patterns::KeepIf(mask_mod)) |
//       patterns::BlockMap(full, ...)
//
// Errors name the array and the entry: counts outside [0, row_stride], indices
// outside the keys.
HEED_API Status BlockMapFromCounts(const BlockGridShape& shape,
                                   const int32_t* kv_num_blocks,
                                   const int32_t* kv_indices,
                                   int64_t row_stride, uint8_t* map);

// Writes the map of a plan with the same batch, num_heads, extents and
// query_block_size: 1 where a list has any key of the block. PlanFromBlockMap
// makes the same plan of it where no interval is partial and all begin and end
// with blocks.
HEED_API Status BlockMapOf(const SparsePlan& plan, const BlockGridShape& shape,
                           uint8_t* map);

// ---- How patterns are asked -------------------------------------------------

namespace internal {

// The keys of one row, as they are added.
class RowKeys {
 public:
  RowKeys(KeyInterval* memory, int64_t capacity)
      : interval_(memory), capacity_(capacity) {}

  // Forgets all, for a row that sees keys below `end`.
  void Reset(int64_t end) {
    count_ = 0;
    end_ = end;
    sorted_ = true;
  }
  void Add(int64_t begin, int64_t end) {
    begin = begin < 0 ? 0 : begin;
    end = end > end_ ? end_ : end;
    if (begin >= end) return;
    // First, as what was last is then another.
    if (count_ == capacity_) Sort();
    if (count_ > 0) {
      KeyInterval& last = interval_[count_ - 1];
      if (begin == last.end) {
        last.end = static_cast<int32_t>(end);
        return;
      }
      sorted_ = sorted_ && begin > last.end;
    }
    interval_[count_++] = {static_cast<int32_t>(begin),
                           static_cast<int32_t>(end)};
  }
  // Sorts, and joins what overlaps or touches.
  HEED_API void Sort();

  const KeyInterval* begin() const { return interval_; }
  int64_t size() const { return count_; }
  // Room for this many never runs out, with so many keys.
  static int64_t CapacityFor(int64_t keys) { return keys / 2 + 2; }

 private:
  KeyInterval* interval_;
  int64_t capacity_;
  int64_t count_ = 0;
  int64_t end_ = 0;
  bool sorted_ = true;
};

// The intervals of a row as a pattern lists them.
struct RowEnds {
  static constexpr int64_t kMost = 4;

  int64_t count = 0;  // may be more than there is room for
  int64_t begin[kMost];
  int64_t end[kMost];

  void Add(int64_t from, int64_t to) {
    if (count < kMost) {
      begin[count] = from;
      end[count] = to;
    }
    ++count;
  }
};

// A pattern of any type.
struct PatternView {
  const void* self = nullptr;
  int64_t shared_rows = 1;
  void (*row)(const void* self, const PatternRow& row, RowKeys* keys) = nullptr;
  // Of one that steps.
  void (*ends)(const void* self, const PatternRow& row,
               RowEnds* ends) = nullptr;
};

template <typename P>
PatternView ViewOfPattern(const P& pattern) {
  PatternView view;
  view.self = &pattern;
  view.shared_rows = SharedRowsOf(pattern);
  view.row = [](const void* self, const PatternRow& row, RowKeys* keys) {
    ForEachKept(*static_cast<const P*>(self), row,
                [keys](int64_t begin, int64_t end) { keys->Add(begin, end); });
  };
  if constexpr (HasSteps<P>::value) {
    view.ends = [](const void* self, const PatternRow& row, RowEnds* ends) {
      static_cast<const P*>(self)->Intervals(
          row, [ends](int64_t begin, int64_t end) { ends->Add(begin, end); });
    };
  }
  return view;
}

HEED_API Status MakeSparsePlan(const AttentionParams& params,
                               const AttentionShape& shape,
                               const PatternView& pattern,
                               const SparseOptions& options,
                               const Scratch& memory, const Executor& executor,
                               SparsePlan* plan);

}  // namespace internal

template <typename P>
Status MakeSparsePlan(const AttentionParams& params,
                      const AttentionShape& shape, const P& pattern,
                      const SparseOptions& options, const Scratch& memory,
                      const Executor& executor, SparsePlan* plan) {
  return internal::MakeSparsePlan(params, shape,
                                  internal::ViewOfPattern(pattern), options,
                                  memory, executor, plan);
}

}  // namespace heed

#endif  // HEED_SPARSE_H_
