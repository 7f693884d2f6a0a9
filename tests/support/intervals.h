// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Key interval lists for tests.
#ifndef HEED_TESTS_SUPPORT_INTERVALS_H_
#define HEED_TESTS_SUPPORT_INTERVALS_H_

#include <cstdint>
#include <vector>

#include "heed/attention.h"
#include "heed/kv.h"
#include "lib/eval/workload.h"

namespace heed::test {

// Owns the lists of one call.
struct IntervalLists {
  int64_t query_block_size = 0;
  std::vector<int64_t> offsets = {0};
  std::vector<KeyInterval> intervals;

  void Add(int64_t begin, int64_t end) {
    intervals.push_back(
        {static_cast<int32_t>(begin), static_cast<int32_t>(end)});
  }
  void EndList() { offsets.push_back(static_cast<int64_t>(intervals.size())); }
  KeyIntervals View() const {
    KeyIntervals view;
    view.query_block_size = query_block_size;
    view.num_offsets = static_cast<int64_t>(offsets.size());
    view.num_intervals = static_cast<int64_t>(intervals.size());
    view.offsets = offsets.data();
    view.intervals = intervals.data();
    return view;
  }
};

inline int64_t NumLists(const AttentionShape& shape, int64_t block) {
  return shape.batch * shape.num_heads * ((shape.seqlen_q + block - 1) / block);
}

// Every list offers all keys, cut into pieces at random where `pieces` > 1.
inline IntervalLists FullLists(const AttentionShape& shape, int64_t block,
                               int pieces, eval::Random& random) {
  IntervalLists lists;
  lists.query_block_size = block;
  for (int64_t i = 0; i < NumLists(shape, block); ++i) {
    int64_t begin = 0;
    for (int piece = 1; piece < pieces && begin < shape.seqlen_k; ++piece) {
      const int64_t end = begin + 1 + random.Below(shape.seqlen_k - begin);
      lists.Add(begin, end);
      begin = end;
    }
    if (begin < shape.seqlen_k) lists.Add(begin, shape.seqlen_k);
    lists.EndList();
  }
  return lists;
}

// Lists of up to `most` intervals of up to `longest` keys, gaps likewise; some
// lists are empty.
inline IntervalLists RandomLists(const AttentionShape& shape, int64_t block,
                                 int64_t most, int64_t longest,
                                 eval::Random& random) {
  IntervalLists lists;
  lists.query_block_size = block;
  for (int64_t i = 0; i < NumLists(shape, block); ++i) {
    int64_t position = 0;
    for (int64_t n = random.Below(most + 1); n > 0; --n) {
      const int64_t begin = position + random.Below(longest);
      const int64_t end = begin + 1 + random.Below(longest);
      if (end > shape.seqlen_k) break;
      lists.Add(begin, end);
      position = end;
    }
    lists.EndList();
  }
  return lists;
}

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_INTERVALS_H_
