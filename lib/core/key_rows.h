// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the rows of keys and values and their scales stand: the only place that
// knows.
#ifndef HEED_LIB_CORE_KEY_ROWS_H_
#define HEED_LIB_CORE_KEY_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "heed/attention.h"
#include "lib/core/tensors.h"
#include "lib/core/work.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

// Numbers of one (sequence, key head) that belong to rows: those of a position
// stand together.
class Steps {
 public:
  Steps(const AttentionArgs& args, const ConstTensorView& view,
        const WorkItem& item)
      : step_(view.stride[1]) {
    const Sequence& sequence = item.sequence;
    if (!InPages(args)) {
      first_ =
          BytesAt(view, sequence.key_batch, sequence.first_key, item.kv_head);
      return;
    }
    first_ = BytesAt(view, 0, 0, item.kv_head);
    page_step_ = view.stride[0];
    page_size_ =
        static_cast<int32_t>(std::min<int64_t>(args.key.seqlen(), INT32_MAX));
    pages_ = args.pages.page_table + sequence.index * args.pages.table_stride;
  }

  // Writes where those of the positions [begin, end) stand.
  template <typename T>
  void Fill(int32_t begin, int32_t end, const T** at) const {
    if (pages_ == nullptr) {
      FillRun(first_ + begin * step_, end - begin, at);
      return;
    }
    if (page_size_ == 1) {
      for (int32_t i = begin; i < end; ++i, ++at) {
        *at = reinterpret_cast<const T*>(first_ + pages_[i] * page_step_);
      }
      return;
    }
    const int32_t* page = pages_ + begin / page_size_;
    int32_t row = begin % page_size_;
    for (int32_t left = end - begin; left > 0; ++page, row = 0) {
      const int32_t rows = std::min(left, page_size_ - row);
      FillRun(first_ + *page * page_step_ + row * step_, rows, at);
      at += rows;
      left -= rows;
    }
  }

  bool in_pages() const { return pages_ != nullptr; }
  // Bytes from one position to the next, within a page.
  int64_t step() const { return step_; }

 private:
  template <typename T>
  void FillRun(const char* from, int32_t rows, const T** at) const {
    for (int32_t i = 0; i < rows; ++i, from += step_) {
      at[i] = reinterpret_cast<const T*>(from);
    }
  }

  const char* first_;
  int64_t step_;
  // In pages: those of the sequence.
  const int32_t* pages_ = nullptr;
  int64_t page_step_ = 0;
  int32_t page_size_ = 1;
};

// What quantised rows are multiplied by where nothing is given.
inline constexpr float kNoScale = 1.0f;
inline ConstTensorView ScaleOrOne(const ScaledRows& rows) {
  if (!rows.scale.absent()) return rows.scale;
  return Strided(&kNoScale, rows.rows.batch(), rows.rows.seqlen(),
                 rows.rows.heads(), int64_t{1}, 0, 0, 0);
}

// 4-bit rows without channels may go without minima: none is used.
inline constexpr float kNoMinimum = 0.0f;
inline ConstTensorView MinimumOrZero(const ScaledRows& rows) {
  if (!rows.minimum.absent()) return rows.minimum;
  return Strided(&kNoMinimum, rows.rows.batch(), rows.rows.seqlen(),
                 rows.rows.heads(), int64_t{1}, 0, 0, 0);
}

// The rows of keys or values, and what quantised ones are multiplied by.
class RowList {
 public:
  RowList(const AttentionArgs& args, const ScaledRows& rows,
          const WorkItem& item)
      : rows_(args, rows.rows, item),
        scale_(args, ScaleOrOne(rows), item),
        minimum_(args, MinimumOrZero(rows), item),
        keys_(static_cast<int32_t>(item.sequence.seqlen_k)),
        scaled_(IsQuantised(rows.rows.dtype)),
        offset_(rows.rows.dtype == DType::kU4) {
    scales_.group = static_cast<int>(rows.rows.head_dim());
    if (rows.scale.head_dim() > 1) {
      scales_.group =
          static_cast<int>(rows.rows.head_dim() / rows.scale.head_dim());
    }
    if (scaled_) scales_.scale = scale_row_;
    if (offset_) scales_.minimum = minimum_row_;
  }
  // Points into itself.
  RowList(const RowList&) = delete;
  RowList& operator=(const RowList&) = delete;

  // Makes the positions [begin, end) the rows from `at` on.
  void Fill(int32_t begin, int32_t end, int at) {
    if (begin == fetch_begin_ && end <= fetch_end_) {
      std::copy_n(fetch_, end - begin, row_ + at);
    } else {
      rows_.Fill(begin, end, row_ + at);
    }
    if (scaled_) scale_.Fill(begin, end, scale_row_ + at);
    if (offset_) minimum_.Fill(begin, end, minimum_row_ + at);
  }

  const void* const* rows() const { return row_; }
  const RowScales& scales() const { return scales_; }

  // What to fetch ahead: so many bytes behind these rows.
  const void* const* fetch() const { return rows_.in_pages() ? fetch_ : row_; }
  int64_t block_step() const {
    return rows_.in_pages() ? 0 : kBlockKeys * rows_.step();
  }

  // For the positions [begin, end), a block: makes what to fetch the positions
  // a block later, or the last there is.
  void FillFetch(int32_t begin, int32_t end) {
    if (!rows_.in_pages()) return;
    const int32_t first = std::min(begin + kBlockKeys, keys_);
    const int32_t last = std::min(end + kBlockKeys, keys_);
    rows_.Fill(first, last, fetch_);
    fetch_begin_ = first;
    fetch_end_ = last;
    std::fill(fetch_ + (last - first), fetch_ + (end - begin),
              row_[end - begin - 1]);
  }

 private:
  Steps rows_, scale_, minimum_;
  int32_t keys_;
  bool scaled_, offset_;
  RowScales scales_;
  const void* row_[kBlockKeys];
  // In pages: what to fetch, and the positions whose rows these are.
  const void* fetch_[kBlockKeys];
  int32_t fetch_begin_ = 0, fetch_end_ = -1;
  const float* scale_row_[kBlockKeys];
  const float* minimum_row_[kBlockKeys];
};

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_KEY_ROWS_H_
