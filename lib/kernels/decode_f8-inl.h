// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rows of 8-bit floats that are known to be finite, as decoding takes them: the
// bits of an element, moved to where a float has them, are a float that is too
// small by a power of two, which the scale makes up for. So an element costs
// two instructions before it is multiplied, as an integer does. Zen 3, AVX2,
// one row, nanoseconds a key of 128 from the caches: e4m3 69 and 35, e5m2 48
// and 35.
#if defined(HEED_LIB_KERNELS_DECODE_F8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_F8_INL_H_
#undef HEED_LIB_KERNELS_DECODE_F8_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_F8_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "heed/types.h"
#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// An element of type F that is finite. Elements below the normal numbers of F
// become floats below those of f32, so the CPU must not take these for zeros.
template <class F>
struct Finite {
  uint8_t bits;
};
template <class F>
inline constexpr bool kScaled<Finite<F>> = true;

template <class T>
struct FiniteFormat {
  using Type = void;
};
template <class F>
struct FiniteFormat<Finite<F>> {
  using Type = F;
};
template <class T>
using FormatOf = typename FiniteFormat<T>::Type;
template <class T>
inline constexpr bool kIsFinite = !std::is_void_v<FormatOf<T>>;

// What an element's floats are times too small.
template <class T>
inline constexpr float kFiniteFactor = 1.0f;
template <>
inline constexpr float kFiniteFactor<Finite<f8_e4m3>> = 0x1p120f;
template <>
inline constexpr float kFiniteFactor<Finite<f8_e5m2>> = 0x1p112f;

// Of the bits of F: the largest finite magnitude; those of the fraction, so the
// place of a float's that the last one takes; and where a float has its sign,
// exponent and fraction.
template <class F>
inline constexpr bool kIsE4M3 = std::is_same_v<F, f8_e4m3>;
template <class F>
inline constexpr uint8_t kMostFinite = kIsE4M3<F> ? 0x7e : 0x7b;
template <class F>
inline constexpr int kFinitePlace = kIsE4M3<F> ? 20 : 21;
template <class F>
inline constexpr uint32_t kFiniteBits = kIsE4M3<F> ? 0x87f00000 : 0x8fe00000;

// Too small by the factor, from elements in the upper bytes; other bytes do not
// matter.
template <class F, class D, class DI = hn::RebindToSigned<D>>
HWY_INLINE hn::Vec<D> FiniteOfUpper(D d, hn::Vec<DI> upper) {
  const DI di;
  const auto moved = hn::ShiftRight<24 - kFinitePlace<F>>(upper);
  const auto bits = hn::Set(di, static_cast<int32_t>(kFiniteBits<F>));
  return hn::BitCast(d, hn::And(moved, bits));
}

template <class F>
struct ScaledRow<Finite<F>> {
  const Finite<F>* from;
  float scale;

  ScaledRow(const Finite<F>* row, const internal::RowScales& scales, size_t i)
      : from(row), scale(*scales.scale[i] * kFiniteFactor<Finite<F>>) {}

  HWY_INLINE void Skip(size_t columns) { from += columns; }
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t c) const {
    const hn::RebindToSigned<D> di;
    const hn::Rebind<int8_t, D> di8;
    // The sign stands above the other bits too.
    const auto wide = hn::PromoteTo(
        di, hn::LoadU(di8, reinterpret_cast<const int8_t*>(from + c)));
    const auto moved = hn::ShiftLeft<kFinitePlace<F>>(wide);
    const auto bits = hn::Set(di, static_cast<int32_t>(kFiniteBits<F>));
    return hn::Mul(hn::BitCast(d, hn::And(moved, bits)), hn::Set(d, scale));
  }
  HWY_INLINE float One(size_t c) const { return ScaledOne(from[c], scale); }

  // One element by its scale times the factor.
  static HWY_INLINE float ScaledOne(Finite<F> x, float scale) {
    const hn::CappedTag<float, 1> d;
    const hn::RebindToSigned<decltype(d)> di;
    const auto upper =
        hn::Set(di, static_cast<int32_t>(static_cast<uint32_t>(x.bits) << 24));
    return hn::GetLane(FiniteOfUpper<F>(d, upper)) * scale;
  }
};

#if HWY_ARCH_X86
inline constexpr bool kTakesFinite = true;
// Whether the caller has MXCSR take floats below the normal ones for zeros.
HWY_INLINE bool DropsSubnormals() {
  constexpr unsigned kDenormalsAreZeros = 1u << 6;
  return (__builtin_ia32_stmxcsr() & kDenormalsAreZeros) != 0;
}
#else
inline constexpr bool kTakesFinite = false;
HWY_INLINE bool DropsSubnormals() { return true; }
#endif

// Whether elements of a type can be known to be finite.
template <class T>
inline constexpr bool kMayBeFinite =
    kTakesFinite && sizeof(T) == 1 && kScaled<T>&& kPerUnit<T> == 1 &&
    !std::is_same_v<T, int8_t>;

// Whether `rows` rows of `dim` elements of F from row i on are finite, and
// their scales neither so large that the factor makes them infinite nor so
// small that they are not normal.
template <class F>
HWY_NOINLINE bool AreFinite(const void* const* row,
                            const internal::RowScales& scales, size_t i,
                            size_t rows, size_t dim) {
  if (DropsSubnormals()) return false;
  const hn::ScalableTag<uint8_t> d;
  const size_t N = hn::Lanes(d);
  const auto magnitude = hn::Set(d, 0x7f);
  auto most = hn::Zero(d), most_beside = most;
  uint32_t last = 0;
  // As integers, magnitudes of floats are in order; zeros come out on top of
  // `less`.
  uint32_t most_scale = 0, less = UINT32_MAX;
  for (size_t k = i; k < i + rows; ++k) {
    uint32_t size;
    hwy::CopyBytes<sizeof(size)>(scales.scale[k], &size);
    size &= 0x7fffffff;
    most_scale = HWY_MAX(most_scale, size);
    less = HWY_MIN(less, size - 1);
    const uint8_t* HWY_RESTRICT from = static_cast<const uint8_t*>(row[k]);
    size_t c = 0;
    for (; c + 2 * N <= dim; c += 2 * N) {
      most = hn::Max(most, hn::And(hn::LoadU(d, from + c), magnitude));
      most_beside =
          hn::Max(most_beside, hn::And(hn::LoadU(d, from + c + N), magnitude));
    }
    for (; c + N <= dim; c += N) {
      most = hn::Max(most, hn::And(hn::LoadU(d, from + c), magnitude));
    }
    for (; c < dim; ++c) last = HWY_MAX(last, from[c] & 0x7fu);
  }
  const hn::RebindToSigned<decltype(d)> di;
  const auto limit = hn::Set(di, static_cast<int8_t>(kMostFinite<F>));
  constexpr uint32_t kMostScale = (127 + 7) << 23;     // 2^7
  constexpr uint32_t kLeastScale = (127 - 100) << 23;  // 2^-100
  return most_scale <= kMostScale && less >= kLeastScale - 1 &&
         last <= kMostFinite<F> &&
         hn::AllFalse(
             di, hn::Gt(hn::BitCast(di, hn::Max(most, most_beside)), limit));
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_F8_INL_H_
