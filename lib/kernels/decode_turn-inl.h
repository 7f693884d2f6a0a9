// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Key rows turned into columns, so that lanes are keys, and what is fetched
// ahead meanwhile.
#if defined(HEED_LIB_KERNELS_DECODE_TURN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_TURN_INL_H_
#undef HEED_LIB_KERNELS_DECODE_TURN_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_TURN_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scalar_convert.h"
#include "lib/kernels/scaled_rows-inl.h"
#include "lib/kernels/transpose-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::kBlockKeys;

// Columns of key rows that are turned at a time: 4 KiB as floats. Zen 4, one
// row, head_dim 128, f32 from memory: 22 GB/s with 16 columns, 19 with 32, 18
// with 64 (from cache 34, 39 and 40). Of quantised keys a group of 4-bit ones.
inline constexpr size_t kMostTurnColumns = internal::kMinScaleGroup;
template <class T>
inline constexpr size_t kTurnColumns = kScaled<T> ? kMostTurnColumns : 16;

// Floats from one column of turned keys to the next, and from one row of scores
// to the next: room for whole vectors.
#if HWY_HAVE_SCALABLE
inline constexpr size_t kMostKeyLanes = 2 * kBlockKeys;
#else
inline constexpr size_t kMostKeyLanes = kBlockKeys;
#endif
HWY_INLINE size_t KeyStride() {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  return (kBlockKeys + N - 1) / N * N;
}

// Brings the rows into the second-level cache that will stand in a block's
// places in the next: row by row, in the order of memory, a share with each
// share of the work at hand.
template <class T>
class FetchAhead {
 public:
  // `ahead` bytes behind the rows [first, first + rows) of `dim` elements;
  // null: nothing.
  FetchAhead(const void* const* row, size_t first, size_t rows, size_t dim,
             int64_t ahead)
      : row_(row == nullptr ? nullptr : row + first),
        last_(row == nullptr ? nullptr : row_ + rows),
        ahead_(static_cast<uintptr_t>(ahead)),
        row_bytes_(dim * sizeof(T) / kPerUnit<T>) {}

  // Takes the share of `elements`.
  HWY_INLINE void Next(size_t elements) {
    constexpr uintptr_t kLine = 64;
    if (row_ == last_) return;
    // As an integer: the address may lie past the end, and is never read.
    const uintptr_t from = reinterpret_cast<uintptr_t>(*row_) + ahead_ + at_;
    const size_t bytes = elements * sizeof(T) / kPerUnit<T>;
    for (uintptr_t line = 0; line < bytes; line += kLine) {
      __builtin_prefetch(reinterpret_cast<const void*>(from + line), /*rw=*/0,
                         /*locality=*/2);
    }
    at_ += bytes;
    if (at_ >= row_bytes_) {
      at_ = 0;
      ++row_;
    }
  }

  // The same in whole lines: what is less is owed to the next call.
  HWY_INLINE void NextLines(size_t elements) {
    constexpr size_t kLine = 64;
    owed_ += elements * sizeof(T) / kPerUnit<T>;
    for (; owed_ >= kLine && row_ != last_; owed_ -= kLine) {
      const uintptr_t line = reinterpret_cast<uintptr_t>(*row_) + ahead_ + at_;
      __builtin_prefetch(reinterpret_cast<const void*>(line), /*rw=*/0,
                         /*locality=*/2);
      at_ += kLine;
      if (at_ >= row_bytes_) {
        at_ = 0;
        ++row_;
      }
    }
  }

 private:
  const void* const* row_;
  const void* const* last_;
  uintptr_t ahead_;
  size_t row_bytes_;
  size_t at_ = 0;
  size_t owed_ = 0;  // bytes
};

// Keys are turned in vectors of at most 256 bits: wider inserts and stores take
// two cycles where units have that width, and shuffles of 512 bits gain nothing
// elsewhere.
#if HWY_HAVE_SCALABLE
using TurnTag = hn::CappedTag<float, 4>;
HWY_INLINE size_t TurnKeys() { return 4; }
#else
using TurnTag = hn::CappedTag<float, 8>;
HWY_INLINE size_t TurnKeys() { return hn::MaxLanes(TurnTag()); }
#endif
inline constexpr size_t kMostTurnKeys = 8;

// Elements of each row that are turned at a time: four floats, or the eight
// bf16 in the room of four, which move as pairs and are widened after.
template <class T>
inline constexpr size_t kTurnedPiece = std::is_same_v<T, bf16> ? 8 : 4;

// The pieces of key[0], key[4], ... from element c on, side by side.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadPieces(D d, const T* const* key, size_t c) {
#if !HWY_HAVE_SCALABLE
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return hn::Combine(d, LoadPieces(half, key + 4, c),
                       LoadPieces(half, key, c));
  } else  // NOLINT(readability/braces)
#endif
  {
    if constexpr (std::is_same_v<T, bf16>) {
      return hn::LoadU(d, reinterpret_cast<const float*>(key[0] + c));
    } else {
      return LoadWiden(d, key[0] + c);
    }
  }
}

// Stores a column, or the two columns of pairs, as floats.
template <class T, class D, class V>
HWY_INLINE void StoreColumns(D d, V x, float* HWY_RESTRICT to, size_t stride) {
  if constexpr (std::is_same_v<T, bf16>) {
    const hn::RebindToUnsigned<D> du;
    const auto pairs = hn::BitCast(du, x);
    const auto second = hn::And(pairs, hn::Set(du, 0xffff0000u));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(pairs)), d, to);
    hn::StoreU(hn::BitCast(d, second), d, to + stride);
  } else {
    hn::StoreU(x, d, to);
  }
}

// to[i * stride + k] = key[k][c + i], i < kTurnedPiece<T> and k < TurnKeys().
template <class T>
HWY_INLINE void TurnPiece(const T* const* key, size_t c, float* HWY_RESTRICT to,
                          size_t stride) {
  const TurnTag d;
  auto r0 = LoadPieces(d, key, c);
  auto r1 = LoadPieces(d, key + 1, c);
  auto r2 = LoadPieces(d, key + 2, c);
  auto r3 = LoadPieces(d, key + 3, c);
  TransposeInBlocks(d, r0, r1, r2, r3);
  const size_t step = kTurnedPiece<T> / 4 * stride;
  StoreColumns<T>(d, r0, to, stride);
  StoreColumns<T>(d, r1, to + step, stride);
  StoreColumns<T>(d, r2, to + 2 * step, stride);
  StoreColumns<T>(d, r3, to + 3 * step, stride);
}

// turned[i * KeyStride() + k] = key[k][column + i] for i < columns and k <
// keys, a multiple of TurnKeys().
template <class T>
HWY_NOINLINE void TurnKeyRows(const T* const* key, size_t keys, size_t column,
                              size_t columns, FetchAhead<T>* fetch,
                              float* HWY_RESTRICT turned) {
  const size_t stride = KeyStride();
  const size_t step = TurnKeys();
  const size_t whole = columns / kTurnedPiece<T> * kTurnedPiece<T>;
  const T* at[kMostTurnKeys];
  FetchAhead<T> ahead = *fetch;
  for (size_t k = 0; k < keys; k += step) {
    for (size_t i = 0; i < step; ++i) at[i] = key[k + i] + column;
    for (size_t c = 0; c < whole; c += kTurnedPiece<T>) {
      TurnPiece(at, c, turned + c * stride + k, stride);
      ahead.Next(kTurnedPiece<T> * step);
    }
    for (size_t c = whole; c < columns; ++c) {
      for (size_t i = k; i < k + step; ++i) {
        turned[c * stride + i] = internal::scalar::Widen(key[i][column + c]);
      }
    }
  }
  *fetch = ahead;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_TURN_INL_H_
