// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rows of quantised keys and values as floats: heed/kv.h's scale and minimum on
// top of convert-inl.h.
#if defined(HEED_LIB_KERNELS_SCALED_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_SCALED_ROWS_INL_H_
#undef HEED_LIB_KERNELS_SCALED_ROWS_INL_H_
#else
#define HEED_LIB_KERNELS_SCALED_ROWS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "heed/types.h"
#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scalar_convert.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Whether elements of this type are multiplied by a scale, and how many of them
// a T holds.
template <class T>
inline constexpr bool kScaled = false;
template <>
inline constexpr bool kScaled<int8_t> = true;
template <>
inline constexpr bool kScaled<f8_e4m3> = true;
template <>
inline constexpr bool kScaled<f8_e5m2> = true;
template <>
inline constexpr bool kScaled<u4x2> = true;
template <class T>
inline constexpr size_t kPerUnit = 1;
template <>
inline constexpr size_t kPerUnit<u4x2> = 2;

// Vectors of 4-bit elements stay within a group.
using GroupTag = hn::CappedTag<float, internal::kMinScaleGroup>;

// Lanes(d) 4-bit elements, an even number, from the low half of *from on.
template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const u4x2* from) {
#if !HWY_HAVE_SCALABLE
  if constexpr (hn::MaxLanes(D()) == 8) {
    // Of AVX2, whose lanes shift by counts of their own. A broadcast costs a
    // load and no shuffle: 58 and 31 cycles for 128 columns of values (Zen 3).
    const hn::Rebind<int32_t, D> di;
    int32_t word;
    hwy::CopyBytes<sizeof(word)>(from, &word);
    const auto shift = hn::ShiftLeft<2>(hn::Iota(di, 0));
    return hn::ConvertTo(
        d, hn::And(hn::Shr(hn::Set(di, word), shift), hn::Set(di, 15)));
  }
#endif
  const hn::Rebind<int32_t, D> di32;
  const hn::Rebind<uint8_t, D> du8;
  const hn::Repartition<uint16_t, decltype(du8)> du16;
  const hn::Rebind<uint8_t, decltype(du16)> dhalf;
  const auto pairs = hn::PromoteTo(du16, hn::LoadU(dhalf, &from->bits));
  const auto bytes =
      hn::And(hn::Or(pairs, hn::ShiftLeft<4>(pairs)), hn::Set(du16, 0x0f0f));
  return hn::ConvertTo(d, hn::PromoteTo(di32, hn::BitCast(du8, bytes)));
}

// One quantised row: where its elements, scales and minima stand.
template <class T>
struct ScaledRow {
  const T* from;
  float scale;

  ScaledRow(const T* row, const internal::RowScales& scales, size_t i)
      : from(row), scale(*scales.scale[i]) {}

  HWY_INLINE void Skip(size_t columns) { from += columns; }
  // The elements from `c` on.
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t c) const {
    return hn::Mul(LoadWiden(d, from + c), hn::Set(d, scale));
  }
  HWY_INLINE float One(size_t c) const {
    return internal::scalar::Widen(from[c]) * scale;
  }
};

template <>
struct ScaledRow<u4x2> {
  const u4x2* from;
  size_t column = 0;
  const float* scale;
  const float* minimum;
  int shift;  // to the number of a column's group

  ScaledRow(const u4x2* row, const internal::RowScales& scales, size_t i)
      : from(row),
        scale(scales.scale[i]),
        minimum(scales.minimum[i]),
        shift(scales.group == 64 ? 6 : 5) {}

  // Columns of one group, from the first of `from` on.
  ScaledRow(const u4x2* from, const float* scale, const float* minimum)
      : from(from), scale(scale), minimum(minimum), shift(5) {}

  // An even number, of which those that are no multiple of the smaller group
  // are followed by fewer columns than they leave of it.
  HWY_INLINE void Skip(size_t columns) {
    from += columns / 2;
    column += columns;
  }
  // D has no more lanes than a group. Whatever the group, vectors of the
  // smaller one are seen to share their scale and minimum.
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t c) const {
    constexpr size_t kGroup = internal::kMinScaleGroup;
    const size_t group = (column + c / kGroup * kGroup) >> shift;
    return hn::MulAdd(LoadWiden(d, from + c / 2), hn::Set(d, scale[group]),
                      hn::Set(d, minimum[group]));
  }
  HWY_INLINE float One(size_t c) const {
    const uint32_t pair = from[c / 2].bits;
    const size_t group = (column + c) >> shift;
    const hn::CappedTag<float, 1> d;
    // Not std::fma, which is a call where the baseline has none.
    return hn::GetLane(hn::MulAdd(
        hn::Set(d, static_cast<float>((column + c) % 2 == 0 ? pair & 15
                                                            : pair >> 4)),
        hn::Set(d, scale[group]), hn::Set(d, minimum[group])));
  }
};

// to[c] = element c.
template <class T>
HWY_INLINE void WidenScaledRow(const ScaledRow<T>& row, size_t n, float* to) {
  ConvertRow(ScaledStep{row.scale}, row.from, n, to);
}
HWY_INLINE void WidenScaledRow(const ScaledRow<u4x2>& row, size_t n,
                               float* to) {
  const GroupTag d;
  for (size_t c = 0; c < n; c += hn::Lanes(d)) {
    hn::StoreU(row.Load(d, c), d, to + c);
  }
}

// Calls f(T()) for the type of elements that is known only at run time.
template <class Function>
HWY_INLINE void WithElement(DType type, const Function& f) {
  switch (type) {
    case DType::kF32:
      return f(float());
    case DType::kBF16:
      return f(bf16());
    case DType::kF16:
      return f(f16());
    case DType::kI8:
      return f(int8_t());
    case DType::kF8E4M3:
      return f(f8_e4m3());
    case DType::kF8E5M2:
      return f(f8_e5m2());
    case DType::kU4:
      return f(u4x2());
  }
}

// to[c] = element c of row `i` of a list, as a float.
HWY_INLINE void WidenListedRow(DType type, const void* const* rows,
                               const internal::RowScales& scales, size_t i,
                               size_t n, float* to) {
  WithElement(type, [&](auto element) {
    using T = decltype(element);
    const T* row = static_cast<const T*>(rows[i]);
    if constexpr (kScaled<T>) {
      WidenScaledRow(ScaledRow<T>(row, scales, i), n, to);
    } else {
      WidenRow(row, n, to);
    }
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_SCALED_ROWS_INL_H_
