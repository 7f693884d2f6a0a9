// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Pieces of key rows turned in registers, so that lanes are keys.
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
#include "lib/kernels/decode_f8-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scaled_rows-inl.h"
#include "lib/kernels/transpose-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::kBlockKeys;

// Keys are turned in vectors of at most 256 bits: wider inserts take two cycles
// where units have that width, and shuffles of 512 bits gain nothing elsewhere.
#if HWY_HAVE_SCALABLE
using TurnTag = hn::CappedTag<float, 4>;
HWY_INLINE constexpr size_t TurnKeys() { return 4; }
#else
using TurnTag = hn::CappedTag<float, 8>;
HWY_INLINE constexpr size_t TurnKeys() { return hn::MaxLanes(TurnTag()); }
#endif

// What the number of a block's keys is rounded up to, to whole vectors of
// either size and to pairs of those that are turned together.
HWY_INLINE size_t KeyUnit() {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  return N % (2 * TurnKeys()) == 0 ? N : 2 * N;
}

// Floats from one row of scores to the next.
#if HWY_HAVE_SCALABLE
inline constexpr size_t kMostKeyLanes = 2 * kBlockKeys;
#else
inline constexpr size_t kMostKeyLanes = kBlockKeys;
#endif
HWY_INLINE size_t KeyStride() {
  return (kBlockKeys + KeyUnit() - 1) / KeyUnit() * KeyUnit();
}

// Elements that 32 bits of a row hold, and are turned as one word: as many as
// they are wide, but f16, which Highway widens by the vector, one at a time.
// 8-bit floats are turned as floats where they may not be finite.
template <class T>
inline constexpr size_t kPerWord = 1;
template <>
inline constexpr size_t kPerWord<bf16> = 2;
template <>
inline constexpr size_t kPerWord<int8_t> = 4;
template <>
inline constexpr size_t kPerWord<u4x2> = 8;
template <class F>
inline constexpr size_t kPerWord<Finite<F>> = 4;

// Whether rows can be turned as they are stored. Others, and rows that are not
// equally far apart, are made floats first, so many columns at a time (of u4
// the smaller group).
template <class T>
inline constexpr bool kTurnsWords = kPerWord<T> > 1 || !kScaled<T>;
inline constexpr size_t kWidenColumns = internal::kMinScaleGroup;

// Vectors of keys that are turned and multiplied together, so that their chains
// hide one another's latency. Zen 4, one row, head_dim 128: 4 are faster than 2
// and as fast as 8, floats and narrower types alike.
inline constexpr int kScoreVectors = 4;
inline constexpr size_t kScoreKeys = kScoreVectors * TurnKeys();

// Bytes of a row of `dim` elements.
template <class T>
HWY_INLINE size_t RowBytes(size_t dim) {
  return dim * sizeof(T) / kPerUnit<T>;
}

// Elements of each row that are turned at a time: four words.
template <class T>
inline constexpr size_t kTurnedPiece = 4 * kPerWord<T>;

// The words of a piece of a row; a vector of four.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadWords(D d, const T* row) {
  if constexpr (kPerWord<T> == 1) {
    return LoadWiden(d, row);
  } else {
    const hn::Repartition<uint8_t, D> d8;
    return hn::BitCast(d, hn::LoadU(d8, reinterpret_cast<const uint8_t*>(row)));
  }
}

// `bytes` behind a row.
template <class T>
HWY_INLINE const T* RowBehind(const T* row, ptrdiff_t bytes) {
  return reinterpret_cast<const T*>(reinterpret_cast<const uint8_t*>(row) +
                                    bytes);
}

// Makes the compiler forget that a number does not change in a loop. GCC 12
// otherwise keeps each multiple of a step in a register; it has not so many,
// and fetches them from vector registers.
HWY_INLINE void Forget(ptrdiff_t& x) { __asm__("" : "+r"(x)); }

// r0 to r3: the words of a piece of TurnKeys() keys in lanes; `step` bytes from
// one key to the next.
template <class T, class V>
HWY_INLINE void TurnPiece(const T* key, ptrdiff_t step, V& r0, V& r1, V& r2,
                          V& r3) {
  const TurnTag d;
  const auto load = [&](const T* at) HWY_ATTR {
#if !HWY_HAVE_SCALABLE
    if constexpr (TurnKeys() == 8) {
      const hn::Half<TurnTag> half;
      return hn::Combine(d, LoadWords(half, RowBehind(at, 4 * step)),
                         LoadWords(half, at));
    } else  // NOLINT(readability/braces)
#endif
    {
      return LoadWords(d, at);
    }
  };
  r0 = load(key);
  key = RowBehind(key, step);
  r1 = load(key);
  key = RowBehind(key, step);
  r2 = load(key);
  key = RowBehind(key, step);
  r3 = load(key);
  TransposeInBlocks(d, r0, r1, r2, r3);
}

// Element j of a turned word, as it is used.
template <class T, size_t j, class D, class V = hn::Vec<D>>
HWY_INLINE V ElementOfWord(D d, V word, V scale, V minimum) {
  (void)scale, (void)minimum;
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(di, word);
  if constexpr (std::is_same_v<T, bf16>) {
    return hn::BitCast(d, j == 0 ? hn::ShiftLeft<16>(bits)
                                 : hn::And(bits, hn::Set(di, -0x10000)));
  } else if constexpr (std::is_same_v<T, int8_t>) {
    const auto whole = hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * j>(bits));
    return hn::Mul(hn::ConvertTo(d, whole), scale);
  } else if constexpr (kIsFinite<T>) {
    const auto upper = hn::ShiftLeft<24 - 8 * j>(bits);
    return hn::Mul(FiniteOfUpper<FormatOf<T>>(d, upper), scale);
  } else if constexpr (std::is_same_v<T, u4x2>) {
    const auto whole = hn::And(hn::ShiftRight<4 * j>(bits), hn::Set(di, 15));
    return hn::MulAdd(hn::ConvertTo(d, whole), scale, minimum);
  } else {
    static_assert(kPerWord<T> == 1);
    return word;
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_TURN_INL_H_
