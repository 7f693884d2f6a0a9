// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the decode kernel brings into the second-level cache ahead of its need.
#if defined(HEED_LIB_KERNELS_DECODE_FETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_FETCH_INL_H_
#undef HEED_LIB_KERNELS_DECODE_FETCH_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_FETCH_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target

inline constexpr size_t kLineBytes = 64;

// As an integer: the address may lie past the end, and is never read.
HWY_INLINE void FetchLine(uintptr_t address) {
  __builtin_prefetch(reinterpret_cast<const void*>(address), /*rw=*/0,
                     /*locality=*/2);
}

// The rows of a block and those that will stand in their places in the next,
// `ahead` bytes behind the rows `next`: a fetch goes some rows ahead of the
// work, in the order of memory. Parts of a block fetch nothing.
struct BlockRows {
  const void* const* row;
  const void* const* next;  // null: nothing is fetched
  int64_t ahead;
  size_t row_bytes;
  BlockRows(const void* const* at, const void* const* then, int64_t further,
            size_t rows, size_t bytes)
      : row(at),
        next(rows == internal::kBlockKeys && bytes != 0 ? then : nullptr),
        ahead(further),
        row_bytes(bytes) {}
};

// Neighbouring rows of this block or one of the next.
struct FetchedRows {
  const void* const* row = nullptr;
  uintptr_t add = 0;
  FetchedRows() = default;
  // From row i on, counted through the blocks. The second next block is where
  // it is if rows go on as they do.
  FetchedRows(const BlockRows& block, size_t i)
      : row((i < internal::kBlockKeys ? block.row : block.next) +
            i % internal::kBlockKeys),
        add(i / internal::kBlockKeys * static_cast<uintptr_t>(block.ahead)) {}
  HWY_INLINE uintptr_t operator[](size_t i) const {
    return reinterpret_cast<uintptr_t>(row[i]) + add;
  }
};

// Fetches while rows are worked on column by column, in so many steps. Each
// line is asked for three times, half a block ahead first and last, as fetches
// beyond what the memory has in hand are dropped: Zen 4, f32 from memory, one
// row: 0.71 of the stream-read bandwidth by one fetch, 0.82 by two, 0.88 by
// three.
class FetchKeys {
 public:
  FetchKeys() = default;
  // The rows [first, first + rows), a fraction of half a block.
  FetchKeys(const BlockRows& block, size_t first, size_t rows, size_t steps) {
    if (block.next == nullptr || steps == 0) return;
    constexpr size_t kHalf = internal::kBlockKeys / 2;
    near_ = FetchedRows(block, first + kHalf);
    middle_ = FetchedRows(block, first + 2 * kHalf);
    far_ = FetchedRows(block, first + 3 * kHalf);
    rows_ = rows;
    row_bytes_ = block.row_bytes;
    const size_t lines = rows * ((row_bytes_ + kLineBytes - 1) / kLineBytes);
    a_step_ = (lines + steps - 1) / steps;
  }

  // A step's share.
  HWY_INLINE void Next() {
    for (size_t lines = a_step_; lines != 0 && i_ != rows_;) {
      const uintptr_t near = near_[i_];
      const uintptr_t middle = middle_[i_];
      const uintptr_t far = far_[i_];
      do {
        FetchLine(near + at_);
        FetchLine(middle + at_);
        FetchLine(far + at_);
        at_ += kLineBytes;
      } while (--lines != 0 && at_ < row_bytes_);
      if (at_ >= row_bytes_) {
        at_ = 0;
        ++i_;
      }
    }
  }

 private:
  FetchedRows near_, middle_, far_;
  size_t rows_ = 0;
  size_t row_bytes_ = 0;
  size_t i_ = 0;       // row
  size_t at_ = 0;      // bytes into it
  size_t a_step_ = 0;  // lines
};

// Fetches a part of each row of T some rows ahead of the row at hand.
template <class T>
class FetchValues {
 public:
  FetchValues() = default;
  // `address` is room for the rows' addresses.
  FetchValues(const BlockRows& block, uintptr_t* address) {
    if (block.next == nullptr) return;
    any_ = true;
    constexpr size_t kRows = internal::kBlockKeys;
    row_bytes_ = block.row_bytes;
    const size_t rows = HWY_MIN(HWY_MAX(kBytes / row_bytes_, size_t{1}), kRows);
    const FetchedRows here(block, 0);
    const FetchedRows then(block, kRows);
    step_ = here[1] - here[0];
    uintptr_t other = (then[0] - here[kRows - 1]) ^ step_;
    for (size_t i = 1; i < kRows; ++i) other |= (here[i] - here[i - 1]) ^ step_;
    first_ = here[0] + rows * step_;
    if (other == 0) return;
    for (size_t i = 0; i < kRows; ++i) {
      address[i] = i + rows < kRows ? here[i + rows] : then[i + rows - kRows];
    }
    row_ = address;
  }

  // From row k on.
  HWY_INLINE FetchValues Skip(size_t k) const {
    FetchValues rest = *this;
    rest.first_ += k * step_;
    if (row_ != nullptr) rest.row_ += k;
    return rest;
  }

  // For work on the elements [from, from + count) of each row. The first part
  // fetches for all where rows are short.
  HWY_INLINE FetchValues Part(size_t from, size_t count) const {
    FetchValues part = *this;
    if (row_bytes_ <= kShortRow) {
      if (from != 0) part.any_ = false;
    } else {
      part.from_ = from * sizeof(T) / kPerUnit<T>;
      part.row_bytes_ = (from + count) * sizeof(T) / kPerUnit<T>;
    }
    return part;
  }

  // At row k.
  HWY_INLINE void Next(size_t k) const {
    if (!any_) return;
    const uintptr_t row = row_ == nullptr ? first_ + k * step_ : row_[k];
    for (size_t at = from_; at < row_bytes_; at += kLineBytes) {
      FetchLine(row + at);
    }
  }

 private:
  static constexpr size_t kBytes = 8192;
  static constexpr size_t kShortRow = 1024;
  bool any_ = false;
  const uintptr_t* row_ = nullptr;  // null: from first_ on, step_ apart
  uintptr_t first_ = 0;
  uintptr_t step_ = 0;
  size_t row_bytes_ = 0;
  size_t from_ = 0;
};

// Where a nest has nothing to fetch ahead.
struct FetchNothing {
  HWY_INLINE FetchNothing Part(size_t, size_t) const { return {}; }
  HWY_INLINE void Next(size_t) const {}
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_FETCH_INL_H_
