// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the rows of keys and values and their scales stand: the only place that
// knows.
#ifndef HEED_LIB_CORE_KEY_ROWS_H_
#define HEED_LIB_CORE_KEY_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "heed/attention.h"
#include "lib/core/tensors.h"
#include "lib/core/work.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

// Numbers of one (sequence, key head) that belong to rows: those of a position
// stand together.
class Steps {
 public:
  // `pages` are those of the view, where pointers say where they begin.
  Steps(const AttentionArgs& args, const ConstTensorView& view,
        void* const* pages, const WorkItem& item)
      : step_(view.stride[1]) {
    const Sequence& sequence = item.sequence;
    if (!InPages(args)) {
      first_ =
          BytesAt(view, sequence.key_batch, sequence.first_key, item.kv_head);
      return;
    }
    head_ = item.kv_head * view.stride[2];
    page_size_ =
        static_cast<int32_t>(std::min<int64_t>(args.key.seqlen(), INT32_MAX));
    const int64_t row = sequence.index * args.pages.table_stride;
    if (pages != nullptr) {
      kind_ = Kind::kPointers;
      pages_ = pages + row;
      return;
    }
    first_ = static_cast<const char*>(view.data) + head_;
    kind_ = Kind::kSamePage;
    if (args.pages.page_table == nullptr) return;
    kind_ = Kind::kPool;
    page_step_ = view.stride[0];
    table_ = args.pages.page_table + row;
  }

  // Writes where those of the positions [begin, end) stand.
  template <typename T>
  void Fill(int32_t begin, int32_t end, const T** at) const {
    switch (kind_) {
      case Kind::kRun:
        return FillRun(first_ + begin * step_, end - begin, at);
      case Kind::kPool:
        return FillPages(begin, end, at, [this](int32_t page) {
          return first_ + table_[page] * page_step_;
        });
      case Kind::kPointers:
        return FillPages(begin, end, at, [this](int32_t page) {
          return static_cast<const char*>(pages_[page]) + head_;
        });
      case Kind::kSamePage:
        return FillPages(begin, end, at, [this](int32_t) { return first_; });
    }
  }

  bool in_pages() const { return kind_ != Kind::kRun; }
  // Bytes from one position to the next, within a page.
  int64_t step() const { return step_; }

 private:
  enum class Kind : uint8_t { kRun, kPool, kPointers, kSamePage };

  template <typename T, typename PageAt>
  void FillPages(int32_t begin, int32_t end, const T** at,
                 PageAt page_at) const {
    if (page_size_ == 1) {
      for (int32_t i = begin; i < end; ++i, ++at) {
        *at = reinterpret_cast<const T*>(page_at(i));
      }
      return;
    }
    int32_t page = begin / page_size_;
    int32_t row = begin % page_size_;
    for (int32_t left = end - begin; left > 0; ++page, row = 0) {
      const int32_t rows = std::min(left, page_size_ - row);
      FillRun(page_at(page) + row * step_, rows, at);
      at += rows;
      left -= rows;
    }
  }

  template <typename T>
  void FillRun(const char* from, int32_t rows, const T** at) const {
    for (int32_t i = 0; i < rows; ++i, from += step_) {
      at[i] = reinterpret_cast<const T*>(from);
    }
  }

  Kind kind_ = Kind::kRun;
  int32_t page_size_ = 1;
  const char* first_ = nullptr;
  int64_t step_;
  // In pages: of the head, and those of the sequence.
  int64_t head_ = 0;
  int64_t page_step_ = 0;
  const int32_t* table_ = nullptr;
  void* const* pages_ = nullptr;
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
      : rows_(args, rows.rows, rows.row_pages, item),
        keys_(static_cast<int32_t>(item.sequence.seqlen_k)),
        scaled_(IsQuantised(rows.rows.dtype)),
        offset_(rows.rows.dtype == DType::kU4),
        head_step_(rows.rows.stride[2]),
        list_step_(item.kv_head + 1 < rows.rows.heads()
                       ? head_step_
                       : rows.rows.stride[0] - item.kv_head * head_step_) {
    scales_.group = static_cast<int>(rows.rows.head_dim());
    if (rows.scale.head_dim() > 1) {
      scales_.group =
          static_cast<int>(rows.rows.head_dim() / rows.scale.head_dim());
    }
    if (scaled_) {
      scale_.emplace(args, ScaleOrOne(rows), rows.scale_pages, item);
      scales_.scale = scale_row_;
    }
    if (offset_) {
      minimum_.emplace(args, MinimumOrZero(rows), rows.minimum_pages, item);
      scales_.minimum = minimum_row_;
    }
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
    if (scaled_) scale_->Fill(begin, end, scale_row_ + at);
    if (offset_) minimum_->Fill(begin, end, minimum_row_ + at);
  }

  const void* const* rows() const { return row_; }
  const RowScales& scales() const { return scales_; }

  // What to fetch ahead: so many bytes behind these rows.
  const void* const* fetch() const { return rows_.in_pages() ? fetch_ : row_; }
  int64_t block_step() const {
    return rows_.in_pages() ? 0 : kBlockKeys * rows_.step();
  }

  // Bytes from a row to the next key head's.
  int64_t head_step() const { return head_step_; }
  // Or, of the last key head, to the first's in the next batch.
  int64_t list_step() const { return list_step_; }

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
  Steps rows_;
  std::optional<Steps> scale_, minimum_;  // where they are used
  int32_t keys_;
  bool scaled_, offset_;
  int64_t head_step_, list_step_;
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
