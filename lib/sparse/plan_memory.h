// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How the arrays of a sparse plan are counted and addressed: what makes plans
// and what reads them share.
#ifndef HEED_LIB_SPARSE_PLAN_MEMORY_H_
#define HEED_LIB_SPARSE_PLAN_MEMORY_H_

#include <algorithm>
#include <cstdint>

#include "heed/scratch.h"
#include "heed/sparse.h"

namespace heed::internal {

inline int64_t BlocksOf(int64_t extent, int64_t block) {
  return extent / block + (extent % block != 0);
}

inline int64_t QueryBlocks(const SparsePlan& plan) {
  return BlocksOf(plan.seqlen_q, plan.query_block_size);
}

inline int64_t NumLists(const SparsePlan& plan) {
  return plan.batch * plan.num_heads * QueryBlocks(plan);
}

inline int64_t WordsOf(int64_t keys) { return (keys + 63) / 64; }

// Sets bits [begin, end).
inline void SetBitRange(int64_t begin, int64_t end, uint64_t* words) {
  for (int64_t at = begin; at < end;) {
    const int64_t stop = std::min(end, (at / 64 + 1) * 64);
    const uint64_t ones = ~uint64_t{0} >> (64 - (stop - at));
    words[at / 64] |= ones << (at % 64);
    at = stop;
  }
}

// Query rows [first, end), which share a list.
struct BlockOfRows {
  int64_t batch, head;
  int64_t first, end;
};

inline BlockOfRows RowsOf(const SparsePlan& plan, int64_t list) {
  const int64_t blocks = QueryBlocks(plan);
  const int64_t first = list % blocks * plan.query_block_size;
  return {list / blocks / plan.num_heads, list / blocks % plan.num_heads, first,
          first + std::min(plan.query_block_size, plan.seqlen_q - first)};
}

// The list of a row of a call that the plan serves.
inline int64_t ListAt(const SparsePlan& plan, int64_t batch, int64_t head,
                      int64_t row) {
  const int64_t b = plan.batch == 1 ? 0 : batch;
  const int64_t h = plan.num_heads == 1 ? 0 : head;
  return (b * plan.num_heads + h) * QueryBlocks(plan) +
         row / plan.query_block_size;
}

// The bits of a row of a block in an interval; null where it sees all of it.
inline const uint64_t* BitsOf(const SparsePlan& plan, int64_t interval,
                              int64_t row_of_block) {
  if (plan.bits == nullptr || plan.bits[interval] < 0) return nullptr;
  const KeyInterval& at = plan.intervals[interval];
  return plan.words + plan.bits[interval] +
         row_of_block * WordsOf(at.end - at.begin);
}

// Calls f(begin, end) for the keys of a row, rising, before the masks.
template <typename F>
void ForEachListed(const SparsePlan& plan, int64_t list, int64_t row, F f) {
  for (int64_t i = plan.offsets[list]; i < plan.offsets[list + 1]; ++i) {
    const KeyInterval& at = plan.intervals[i];
    const uint64_t* bits = BitsOf(plan, i, row % plan.query_block_size);
    if (bits == nullptr) {
      f(at.begin, at.end);
      continue;
    }
    const auto seen = [&](int32_t key) {
      return bits[(key - at.begin) / 64] >> ((key - at.begin) % 64) & 1;
    };
    for (int32_t key = at.begin; key < at.end; ++key) {
      if (!seen(key)) continue;
      const int32_t begin = key;
      while (key < at.end && seen(key)) ++key;
      f(begin, key);
    }
  }
}

// The position of a row, as near as 2^62 allows.
inline int64_t PositionOf(const AttentionParams& masks, int64_t row) {
  constexpr int64_t kMost = int64_t{1} << 62;
  return std::clamp(masks.causal_offset, -kMost, kMost) + row;
}

// The masks alone, with the offset resolved.
AttentionParams MasksOf(const AttentionParams& params, int64_t seqlen_q,
                        int64_t seqlen_k);

// Refuses masks and extents that MakePlan refuses, a negative block and memory
// that was never set.
Status CheckPlanRequest(const AttentionParams& params,
                        const AttentionShape& shape, int64_t query_block_size,
                        const Scratch& memory);

Status PlanOutOfMemory();

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_PLAN_MEMORY_H_
