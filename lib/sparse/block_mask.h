// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How masks treat key blocks for the query rows of a block.
#ifndef HEED_LIB_SPARSE_BLOCK_MASK_H_
#define HEED_LIB_SPARSE_BLOCK_MASK_H_

#include <algorithm>
#include <cstdint>

#include "heed/ops.h"

namespace heed::sparse {

// For query rows [first, last]. What a row sees only moves right from row to
// row, so two rows speak for all.
class BlockMask {
 public:
  BlockMask(const AttentionParams& params, int64_t seqlen_q, int64_t seqlen_k,
            int64_t first, int64_t last)
      : first_(ops::VisibleTo(params, seqlen_q, seqlen_k, first)),
        last_(ops::VisibleTo(params, seqlen_q, seqlen_k, last)) {
    AttentionParams position;  // the end of what it shows is a row's position
    position.causal = true;
    position.causal_offset = params.causal_offset;
    own_begin_ = ops::VisibleTo(position, seqlen_q, seqlen_k, first).end - 1;
    own_end_ = ops::VisibleTo(position, seqlen_q, seqlen_k, last).end;
  }

  // Some row may see a key of [begin, end).
  bool Touches(int64_t begin, int64_t end) const {
    return begin < last_.sink_end || (begin < last_.end && end > first_.begin);
  }
  // No row sees a key from here on.
  int64_t End() const { return std::max(last_.sink_end, last_.end); }
  // [begin, end) is kept whatever it scores.
  bool Forces(int64_t begin, int64_t end) const {
    return begin == 0 || (begin < own_end_ && end > own_begin_) ||
           !SeesWhole(first_, begin, end) || !SeesWhole(last_, begin, end);
  }

 private:
  static bool SeesWhole(const ops::VisibleKeys& see, int64_t begin,
                        int64_t end) {
    return end <= see.sink_end ||
           (end <= see.end &&
            (begin >= see.begin || see.begin == see.sink_end));
  }

  ops::VisibleKeys first_;
  ops::VisibleKeys last_;
  int64_t own_begin_;
  int64_t own_end_;
};

}  // namespace heed::sparse

#endif  // HEED_LIB_SPARSE_BLOCK_MASK_H_
