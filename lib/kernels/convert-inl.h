// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Storage types to floats and back, the bits of heed/types.h on every target:
// in registers (LoadWiden, StoreNarrow) and by the row (WidenRow, NarrowRow).
// Highway's own conversions differ per target: on SSE4 an infinite f16 becomes
// finite, and bf16 is cut off rather than rounded.
#if defined(HEED_LIB_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_CONVERT_INL_H_
#undef HEED_LIB_KERNELS_CONVERT_INL_H_
#else
#define HEED_LIB_KERNELS_CONVERT_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "heed/types.h"
#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/scalar_convert.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// ---- In registers -----------------------------------------------------------

// The tables with FMA have instructions for f16 too.
inline constexpr bool kConvertsF16 = HEED_TARGET_FACTS.same_bits;

// The floats that equal the f16 whose bits are given. The instructions of AVX2
// and Arm heed neither MXCSR nor FPCR where an f16 is subnormal.
template <class D, class V16 = hn::Vec<hn::Rebind<uint16_t, D>>>
HWY_INLINE hn::Vec<D> WidenF16(D d, V16 half) {
  if constexpr (kConvertsF16) {
    const hn::Rebind<hwy::float16_t, D> dh;
    return hn::PromoteTo(d, hn::BitCast(dh, half));
  } else {
    const hn::Rebind<int32_t, D> di;
    const auto bits = hn::PromoteTo(di, half);
    const auto magnitude = hn::And(bits, hn::Set(di, 0x7fff));
    const auto sign = hn::ShiftLeft<16>(hn::Xor(bits, magnitude));
    const auto bias = hn::Set(di, 112 << 23);
    auto wide = hn::Add(hn::ShiftLeft<13>(magnitude), bias);
    wide = hn::Add(
        wide, hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(di, 0x7bff)), bias));
    wide =
        hn::Or(wide, hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(di, 0x7c00)),
                                        hn::Set(di, 0x400000)));
    // The product is zero or a normal float, so nothing is flushed.
    const auto subnormal = hn::BitCast(
        di, hn::Mul(hn::ConvertTo(d, magnitude), hn::Set(d, 0x1p-24f)));
    wide =
        hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x400)), subnormal, wide);
    return hn::BitCast(d, hn::Or(sign, wide));
  }
}

// LoadWiden(d, from): Lanes(d) elements as floats; from a pointer to any
// storage type, aligned as one element, and nothing beyond is read.
template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const bf16* from) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::Rebind<uint32_t, D> du32;
  const auto bits = hn::LoadU(du16, &from->bits);
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const f16* from) {
  const hn::Rebind<uint16_t, D> du16;
  return WidenF16(d, hn::LoadU(du16, &from->bits));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const int8_t* from) {
  const hn::Rebind<int8_t, D> di8;
  const hn::Rebind<int32_t, D> di32;
  return hn::ConvertTo(d, hn::PromoteTo(di32, hn::LoadU(di8, from)));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const f8_e5m2* from) {
  const hn::Rebind<uint8_t, D> du8;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::PromoteTo(du16, hn::LoadU(du8, &from->bits));
  return WidenF16(d, hn::ShiftLeft<8>(bits));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadWiden(D d, const f8_e4m3* from) {
  const hn::Rebind<uint8_t, D> du8;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::PromoteTo(du16, hn::LoadU(du8, &from->bits));
  const auto most = hn::Set(du16, 0x7f);
  const auto magnitude = hn::And(bits, most);
  const auto sign = hn::ShiftLeft<8>(hn::Xor(bits, magnitude));
  const auto nan =
      hn::IfThenElseZero(hn::Eq(magnitude, most), hn::Set(du16, 0x7c00));
  const auto half = hn::Or(hn::Or(sign, hn::ShiftLeft<7>(magnitude)), nan);
  return hn::Mul(WidenF16(d, half), hn::Set(d, 256.0f));
}

// The f16 nearest to the floats, in the lower half of each lane.
template <class D, class DI = hn::Rebind<int32_t, D>>
HWY_INLINE hn::Vec<DI> NearestF16(D d, hn::Vec<D> v) {
  const DI di;
  const auto bits = hn::BitCast(di, v);
  const auto magnitude = hn::And(bits, hn::Set(di, 0x7fffffff));
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 0x8000));
  const auto moved = hn::Sub(magnitude, hn::Set(di, 112 << 23));
  const auto shifted = hn::ShiftRight<13>(moved);
  const auto odd = hn::And(shifted, hn::Set(di, 1));
  auto half =
      hn::ShiftRight<13>(hn::Add(hn::Add(moved, hn::Set(di, 0xfff)), odd));
  // Next to 0.5 a float is as fine as a subnormal f16. A flushed float is next
  // to nothing here anyway.
  const auto near = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f));
  half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 113 << 23)),
                        hn::Sub(hn::BitCast(di, near), hn::Set(di, 126 << 23)),
                        half);
  const auto nan =
      hn::Or(hn::Set(di, 0x7e00),
             hn::And(hn::ShiftRight<13>(magnitude), hn::Set(di, 0x3ff)));
  const auto infinity = hn::Set(di, 0x7c00);
  half =
      hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 143 << 23)), half, infinity);
  half = hn::IfThenElse(hn::Gt(magnitude, hn::Set(di, 0x7f800000)), nan, half);
  return hn::Or(sign, half);
}

// StoreNarrow(v, d, to): the nearest elements, ties to even; nothing beyond is
// written.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreNarrow(V v, D d, float* to) {
  hn::StoreU(v, d, to);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreNarrow(V v, D d, bf16* to) {
  (void)d;
  const hn::Rebind<uint16_t, D> du16;
  const hn::Rebind<uint32_t, D> du32;
  const hn::Rebind<int32_t, D> di32;
  const auto bits = hn::BitCast(du32, v);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(du32, 1));
  const auto rounded =
      hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du32, 0x7fff)), odd));
  const auto magnitude =
      hn::BitCast(di32, hn::And(bits, hn::Set(du32, 0x7fffffff)));
  const auto is_nan = hn::Gt(magnitude, hn::Set(di32, 0x7f800000));
  const auto narrow = hn::IfThenElse(
      is_nan, hn::BitCast(di32, hn::Or(upper, hn::Set(du32, 0x40))),
      hn::BitCast(di32, rounded));
  hn::StoreU(hn::DemoteTo(du16, narrow), du16, &to->bits);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreNarrow(V v, D d, f16* to) {
  const hn::Rebind<uint16_t, D> du16;
  if constexpr (kConvertsF16) {
    const hn::Rebind<hwy::float16_t, D> dh;
    hn::StoreU(hn::BitCast(du16, hn::DemoteTo(dh, v)), du16, &to->bits);
  } else {
    hn::StoreU(hn::DemoteTo(du16, NearestF16(d, v)), du16, &to->bits);
  }
}

// ---- By the row -------------------------------------------------------------

struct WidenStep {
  template <class D, class From>
  HWY_INLINE void Vector(D d, const From* from, float* to) const {
    hn::StoreU(LoadWiden(d, from), d, to);
  }
  template <class From>
  HWY_INLINE void One(const From* from, float* to) const {
    *to = internal::scalar::Widen(*from);
  }
};

struct ScaledStep {
  float scale;
  template <class D, class From>
  HWY_INLINE void Vector(D d, const From* from, float* to) const {
    hn::StoreU(hn::Mul(LoadWiden(d, from), hn::Set(d, scale)), d, to);
  }
  template <class From>
  HWY_INLINE void One(const From* from, float* to) const {
    *to = internal::scalar::Widen(*from) * scale;
  }
};

struct NarrowStep {
  template <class D, class To>
  HWY_INLINE void Vector(D d, const float* from, To* to) const {
    StoreNarrow(hn::LoadU(d, from), d, to);
  }
  template <class To>
  HWY_INLINE void One(const float* from, To* to) const {
    internal::scalar::Narrow(*from, to);
  }
};

// A row of at least one vector. The last one overlaps the one before.
template <class D, class Step, class From, class To>
HWY_INLINE void ConvertVectors(D d, const Step& step, const From* from,
                               size_t n, To* to) {
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    step.Vector(d, from + i, to + i);
    step.Vector(d, from + i + N, to + i + N);
    step.Vector(d, from + i + 2 * N, to + i + 2 * N);
    step.Vector(d, from + i + 3 * N, to + i + 3 * N);
  }
  for (; i + N <= n; i += N) step.Vector(d, from + i, to + i);
  if (i < n) step.Vector(d, from + n - N, to + n - N);
}

template <class Step, class From, class To>
HWY_INLINE void ConvertRow(const Step& step, const From* from, size_t n,
                           To* to) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 4> few;
  if (n >= hn::Lanes(d)) return ConvertVectors(d, step, from, n, to);
  if (n >= hn::Lanes(few)) return ConvertVectors(few, step, from, n, to);
  for (size_t i = 0; i < n; ++i) step.One(from + i, to + i);
}

// to[i] = from[i], exactly. The row and its floats do not overlap.
template <class From>
HWY_INLINE void WidenRow(const From* from, size_t n, float* to) {
  ConvertRow(WidenStep(), from, n, to);
}

// to[i] = from[i] * scale, rounded once.
HWY_INLINE void WidenRow(const int8_t* from, size_t n, float scale, float* to) {
  ConvertRow(ScaledStep{scale}, from, n, to);
}

// to[i] = the nearest to from[i].
template <class To>
HWY_INLINE void NarrowRow(const float* from, size_t n, To* to) {
  ConvertRow(NarrowStep(), from, n, to);
}

// The same for a type that is known only at run time.
HWY_INLINE void WidenRow(DType type, const void* from, size_t n, float* to) {
  switch (type) {
    case DType::kF32:
      return WidenRow(static_cast<const float*>(from), n, to);
    case DType::kBF16:
      return WidenRow(static_cast<const bf16*>(from), n, to);
    case DType::kF16:
      return WidenRow(static_cast<const f16*>(from), n, to);
    case DType::kI8:
      return WidenRow(static_cast<const int8_t*>(from), n, to);
    case DType::kF8E4M3:
      return WidenRow(static_cast<const f8_e4m3*>(from), n, to);
    case DType::kF8E5M2:
      return WidenRow(static_cast<const f8_e5m2*>(from), n, to);
    case DType::kU4:
      return;  // means nothing without its scales: scaled_rows-inl.h
    case DType::kBool:
    case DType::kI32:
    case DType::kU64:
      return;  // never a tensor of rows
  }
}

HWY_INLINE void NarrowRow(DType type, const float* from, size_t n, void* to) {
  if (type == DType::kF32) NarrowRow(from, n, static_cast<float*>(to));
  if (type == DType::kBF16) NarrowRow(from, n, static_cast<bf16*>(to));
  if (type == DType::kF16) NarrowRow(from, n, static_cast<f16*>(to));
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_CONVERT_INL_H_
