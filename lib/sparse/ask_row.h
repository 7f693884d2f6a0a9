// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Asks a pattern row by row, and not again where rows share their keys.
#ifndef HEED_LIB_SPARSE_ASK_ROW_H_
#define HEED_LIB_SPARSE_ASK_ROW_H_

#include <algorithm>
#include <cstdint>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/sparse/plan_memory.h"

namespace heed::internal {

class RowAsker {
 public:
  RowAsker() = default;
  // `memory` holds CapacityFor(seqlen_k): twice what keys can have, so that
  // intervals of a pattern that lists more are not joined one by one.
  static int64_t CapacityFor(int64_t seqlen_k) {
    return 2 * RowKeys::CapacityFor(seqlen_k);
  }
  RowAsker(const AttentionParams& masks, int64_t seqlen_q, int64_t seqlen_k,
           const PatternView& pattern, KeyInterval* memory)
      : masks_(&masks),
        seqlen_q_(seqlen_q),
        seqlen_k_(seqlen_k),
        pattern_(&pattern),
        keys_(memory, CapacityFor(seqlen_k)) {}

  // Calls f(begin, end) for the keys that the pattern keeps and the masks leave
  // the row, rising; pieces may touch. Returns what the masks leave.
  template <typename F>
  ops::VisibleKeys ForEachKey(int64_t head, int64_t row, F f) {
    const ops::VisibleKeys see =
        ops::VisibleTo(*masks_, seqlen_q_, seqlen_k_, row);
    ForEachKeyIn(see, head, row, f);
    return see;
  }

  // The same for what is given to be left.
  template <typename F>
  void ForEachKeyIn(const ops::VisibleKeys& see, int64_t head, int64_t row,
                    F f) {
    Ask(head, PositionOf(*masks_, row), std::max(see.end, see.sink_end));
    for (int64_t i = 0; i < keys_.size(); ++i) {
      const int64_t begin = keys_.begin()[i].begin;
      const int64_t end = keys_.begin()[i].end;
      const int64_t sink_end = std::min(end, see.sink_end);
      if (begin < sink_end) f(begin, sink_end);
      const int64_t from = std::max(begin, see.begin);
      const int64_t to = std::min(end, see.end);
      if (from < to) f(from, to);
    }
  }

  // Sets the intervals that a pattern that steps lists for a row, cut to the
  // keys that there are for it. False where there are too many.
  bool ListEnds(const ops::VisibleKeys& see, int64_t head, int64_t row,
                RowEnds* ends) const {
    PatternRow at;
    at.head = head;
    at.query = PositionOf(*masks_, row);
    at.end = std::max(see.end, see.sink_end);
    pattern_->ends(pattern_->self, at, ends);
    if (ends->count > RowEnds::kMost) return false;
    for (int64_t i = 0; i < ends->count; ++i) {
      ends->begin[i] = std::max<int64_t>(ends->begin[i], 0);
      ends->end[i] = std::min(ends->end[i], at.end);
    }
    return true;
  }
  bool steps() const { return pattern_->ends != nullptr; }

  // Whether the pattern keeps the same keys for rows [first, last].
  bool Share(int64_t first, int64_t last) const {
    return pattern_->shared_rows == 0 || BlockOf(PositionOf(*masks_, first)) ==
                                             BlockOf(PositionOf(*masks_, last));
  }

 private:
  // Of rows that share keys.
  int64_t BlockOf(int64_t query) const {
    const int64_t shared = pattern_->shared_rows;
    if (shared == 0) return 0;
    return query / shared - (query % shared < 0);
  }

  void Ask(int64_t head, int64_t query, int64_t end) {
    PatternRow at;
    at.head = head;
    at.query = query;
    at.end = end;
    if (pattern_->shared_rows != 1) {
      at.end = seqlen_k_;
      const int64_t block = BlockOf(query);
      if (head == head_ && block == block_) return;
      head_ = head;
      block_ = block;
    }
    keys_.Reset(at.end);
    pattern_->row(pattern_->self, at, &keys_);
    keys_.Sort();
  }

  const AttentionParams* masks_ = nullptr;
  int64_t seqlen_q_ = 0;
  int64_t seqlen_k_ = 0;
  const PatternView* pattern_ = nullptr;
  RowKeys keys_{nullptr, 0};
  // What keys_ are of, where rows share.
  int64_t head_ = -1;
  int64_t block_ = 0;
};

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_ASK_ROW_H_
