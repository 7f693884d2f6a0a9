// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The merge of a tile's states in two levels: a chain within each group of
// spans, then a chain over groups.
#ifndef HEED_LIB_CORE_GROUP_CHAIN_H_
#define HEED_LIB_CORE_GROUP_CHAIN_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/work.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

// The chain over groups, fed with the states of groups or of their spans.
class GroupChain {
 public:
  GroupChain(const AttendKernel& kernel, QueryTile* tile)
      : kernel_(kernel), tile_(*tile) {}

  // Goes on from what an earlier chain left; null where there is nothing.
  void Resume(void* total, void* group, int64_t number) {
    total_ = total;
    group_ = group;
    number_ = number;
  }

  // Takes the state of further keys of group `number`. It may be written.
  void Add(void* state, int64_t number) {
    if (group_ != nullptr && number == number_) {
      MergeInto(group_, state);
      return;
    }
    Close();
    group_ = state;
    number_ = number;
  }

  // Returns the state of everything, or null where nothing was added.
  void* Finish() {
    Close();
    return total_;
  }

  void* total() const { return total_; }
  void* group() const { return group_; }

 private:
  void Close() {
    if (group_ == nullptr) return;
    if (total_ == nullptr) {
      total_ = group_;
    } else {
      MergeInto(total_, group_);
    }
    group_ = nullptr;
  }

  void MergeInto(void* state, const void* later) {
    tile_.state = state;
    kernel_.merge(tile_, later);
  }

  const AttendKernel& kernel_;
  QueryTile& tile_;
  void* total_ = nullptr;
  void* group_ = nullptr;
  int64_t number_ = 0;
};

// The group of a tile's `index`-th unit.
inline int64_t GroupOf(const SequenceWork& sequence, int64_t index) {
  return UnitAt(sequence, index) * sequence.unit_spans / kGroupSpans;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_GROUP_CHAIN_H_
