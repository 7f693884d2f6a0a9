// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the rows of an item stand in tensors.
#ifndef HEED_LIB_CORE_TILE_ROWS_H_
#define HEED_LIB_CORE_TILE_ROWS_H_

#include <cstdint>

#include "heed/tensor.h"
#include "lib/core/work.h"

namespace heed::internal {

// The rows of an item in order, without a division each.
class RowCursor {
 public:
  explicit RowCursor(const WorkItem& item)
      : position_(item.PositionOf(0)),
        head_(item.HeadOf(0)),
        first_head_(item.head),
        end_head_(item.head + item.group_size) {}

  int64_t position() const { return position_; }
  int64_t head() const { return head_; }
  void Next() {
    if (++head_ < end_head_) return;
    head_ = first_head_;
    ++position_;
  }

 private:
  int64_t position_, head_;
  int64_t first_head_, end_head_;
};

// Sets row[i] to where row i of the item stands in `view`.
template <typename View, typename Pointer>
void SetRows(const View& view, const WorkItem& item, Pointer* row) {
  RowCursor at(item);
  auto base =
      BytesAt(view, item.sequence.query_batch, item.sequence.first_query, 0);
  if (item.group_size == 1) {
    base += at.position() * view.stride[1] + at.head() * view.stride[2];
    for (int i = 0; i < item.num_rows; ++i, base += view.stride[1]) {
      row[i] = reinterpret_cast<Pointer>(base);
    }
    return;
  }
  for (int i = 0; i < item.num_rows; ++i, at.Next()) {
    const auto bytes =
        base + at.position() * view.stride[1] + at.head() * view.stride[2];
    row[i] = reinterpret_cast<Pointer>(bytes);
  }
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_TILE_ROWS_H_
