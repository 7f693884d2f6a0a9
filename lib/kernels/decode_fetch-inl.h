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
#include "lib/kernels/row_fetch.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target

using internal::RowFetch;

inline constexpr size_t kLineBytes = 64;

// Into the second-level cache. As an integer: the address may lie past the end,
// and is never read.
HWY_INLINE void FetchLine(uintptr_t address) {
  __builtin_prefetch(reinterpret_cast<const void*>(address), /*rw=*/0,
                     /*locality=*/2);
}

// Into the first-level cache.
HWY_INLINE void FetchLineNear(uintptr_t address) {
  __builtin_prefetch(reinterpret_cast<const void*>(address), /*rw=*/0,
                     /*locality=*/3);
}

// The rows of a block and those that will stand in their places in the next,
// `ahead` bytes behind the rows `next`: a fetch goes some rows ahead of the
// work, in the order of memory. Parts of a block fetch nothing. No CPU follows
// rows that are apart by itself: they are fetched as everywhere.
struct BlockRows {
  const void* const* row;
  const void* const* next;  // null: nothing is fetched
  int64_t ahead;
  size_t row_bytes;
  RowFetch habit;
  BlockRows(const void* const* at, const void* const* then, int64_t further,
            size_t rows, size_t bytes)
      : row(at),
        next(rows == internal::kBlockKeys && bytes != 0 ? then : nullptr),
        ahead(further),
        row_bytes(bytes),
        habit(next != nullptr && Adjacent() ? internal::RowFetchHere()
                                            : RowFetch::kOften) {}

 private:
  // Whether each row begins where the last one ends.
  HWY_INLINE bool Adjacent() const {
    constexpr size_t kLast = internal::kBlockKeys - 1;
    return reinterpret_cast<uintptr_t>(row[kLast]) -
               reinterpret_cast<uintptr_t>(row[0]) ==
           kLast * row_bytes;
  }
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

// Fetches while rows are worked on column by column, in so many steps, half a
// block ahead. By habit kOften each line is asked for three times, half a block
// ahead first and last, as fetches beyond what the memory has in hand are
// dropped: Zen 4, f32 from memory, one row: 0.71 of the stream-read bandwidth
// by one fetch, 0.82 by two, 0.88 by three.
class FetchKeys {
 public:
  FetchKeys() = default;
  // The rows [first, first + rows), a fraction of half a block.
  FetchKeys(const BlockRows& block, size_t first, size_t rows, size_t steps) {
    if (block.next == nullptr || steps == 0) return;
    constexpr size_t kHalf = internal::kBlockKeys / 2;
    once_ = block.habit == RowFetch::kOnce;
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
      if (once_) {
        do {
          FetchLineNear(near + at_);
          at_ += kLineBytes;
        } while (--lines != 0 && at_ < row_bytes_);
      } else {
        const uintptr_t middle = middle_[i_];
        const uintptr_t far = far_[i_];
        do {
          FetchLine(near + at_);
          FetchLine(middle + at_);
          FetchLine(far + at_);
          at_ += kLineBytes;
        } while (--lines != 0 && at_ < row_bytes_);
      }
      if (at_ >= row_bytes_) {
        at_ = 0;
        ++i_;
      }
    }
  }

 private:
  FetchedRows near_, middle_, far_;
  bool once_ = false;
  size_t rows_ = 0;
  size_t row_bytes_ = 0;
  size_t i_ = 0;       // row
  size_t at_ = 0;      // bytes into it
  size_t a_step_ = 0;  // lines
};

// Fetches by both.
template <class Fetch>
struct FetchTwice {
  Fetch near, far;
  HWY_INLINE void Next() {
    near.Next();
    far.Next();
  }
};

// Fetches while rows of T are worked on one by one. Work on (nearly) whole rows
// fetches those some rows ahead of the row at hand; work that passes through
// them several times, some columns at a time, fetches the next block's, spread
// over the passes.
template <class T>
class FetchValues {
 public:
  FetchValues() = default;
  // `address` is room for the addresses of the rows of two blocks.
  FetchValues(const BlockRows& block, uintptr_t* address) {
    if (block.next == nullptr) return;
    const FetchedRows here(block, 0);
    const FetchedRows then(block, kRows);
    for (size_t i = 0; i < kRows; ++i) {
      address[i] = here[i];
      address[kRows + i] = then[i];
    }
    row_ = address;
    row_bytes_ = block.row_bytes;
    followed_ = block.habit == RowFetch::kOnce;
  }

  // From row k on.
  HWY_INLINE FetchValues Skip(size_t k) const {
    FetchValues rest = *this;
    if (row_ != nullptr) rest.row_ += k;
    rest.skipped_ += k;
    return rest;
  }

  // For a pass over the elements [from, from + count) of each row.
  HWY_INLINE FetchValues Part(size_t from, size_t count) const {
    FetchValues part = *this;
    if (row_ == nullptr) return part;
    const size_t begin = from * sizeof(T) / kPerUnit<T>;
    part.bytes_ = count * sizeof(T) / kPerUnit<T>;
    if (begin == 0 && 2 * part.bytes_ > row_bytes_) {
      if (followed_) return {};
      const size_t rows = HWY_MAX(kBytes / row_bytes_, size_t{1});
      part.row_ += HWY_MIN(rows, kRows);
      part.bytes_ = row_bytes_;
    } else {
      const size_t done = begin * kRows + part.bytes_ * skipped_;
      part.row_ += kRows - skipped_ + done / row_bytes_;
      part.at_ = done % row_bytes_;
    }
    return part;
  }

  // For so many passes over a few rows, then over the next few: each line is
  // asked for twice.
  HWY_INLINE FetchTwice<FetchValues> Runs(size_t passes) const {
    FetchValues near = *this;
    if (row_ == nullptr) return {near, near};
    const size_t rows = HWY_MAX(kBytes / row_bytes_, size_t{1});
    near.bytes_ = (row_bytes_ + passes - 1) / passes;
    near.row_ += HWY_MIN(rows, kRows / 2);
    FetchValues far = near;
    far.row_ += HWY_MIN(rows, kRows / 2);
    return {near, far};
  }

  // For one row.
  HWY_INLINE void Next() {
    if (row_ == nullptr) return;
    const uintptr_t row = *row_ + at_;
    for (size_t at = 0; at < bytes_; at += kLineBytes) FetchLine(row + at);
    at_ += bytes_;
    if (at_ >= row_bytes_) {
      at_ = 0;
      ++row_;
    }
  }

  static constexpr size_t kRows = internal::kBlockKeys;

 private:
  static constexpr size_t kBytes = 8192;
  const uintptr_t* row_ = nullptr;
  bool followed_ = false;  // by the CPU, where whole rows are read
  size_t skipped_ = 0;
  size_t row_bytes_ = 0;
  size_t bytes_ = 0;  // a row
  size_t at_ = 0;
};

// Where a nest has nothing to fetch ahead.
struct FetchNothing {
  HWY_INLINE FetchNothing Runs(size_t) const { return {}; }
  HWY_INLINE FetchNothing Part(size_t, size_t) const { return {}; }
  HWY_INLINE void Next() const {}
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_FETCH_INL_H_
