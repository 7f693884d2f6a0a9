// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Squares of floats turned in registers: rows of a tensor to lanes and back.
#if defined(HEED_LIB_KERNELS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_TRANSPOSE_INL_H_
#undef HEED_LIB_KERNELS_TRANSPOSE_INL_H_
#else
#define HEED_LIB_KERNELS_TRANSPOSE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// The tag of the largest square, and of the one for columns that it leaves. SVE
// vectors may not stand in arrays, so there both are of four.
#if HWY_HAVE_SCALABLE
using SquareTag = hn::CappedTag<float, 4>;
#else
using SquareTag = hn::ScalableTag<float>;
#endif
using SmallSquareTag = hn::CappedTag<float, 4>;

// Turns the 4 x 4 squares that stand side by side in the 128-bit blocks.
template <class D, class V>
HWY_INLINE void TransposeInBlocks(D d, V& r0, V& r1, V& r2, V& r3) {
  const hn::RepartitionToWide<hn::RebindToUnsigned<D>> dw;
  const auto a = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1));
  const auto b = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
  const auto e = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1));
  const auto f = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
  r0 = hn::BitCast(d, hn::InterleaveLower(dw, a, b));
  r1 = hn::BitCast(d, hn::InterleaveUpper(dw, a, b));
  r2 = hn::BitCast(d, hn::InterleaveLower(dw, e, f));
  r3 = hn::BitCast(d, hn::InterleaveUpper(dw, e, f));
}

#if !HWY_HAVE_SCALABLE
// Turns a 2 x 2 square of 128-bit blocks.
template <class D, class V>
HWY_INLINE void TransposeBlocks(D d, V& r0, V& r1) {
  const V lower = hn::ConcatLowerLower(d, r1, r0);
  r1 = hn::ConcatUpperUpper(d, r1, r0);
  r0 = lower;
}

// The same of 4 x 4.
template <class D, class V>
HWY_INLINE void TransposeBlocks(D d, V& r0, V& r1, V& r2, V& r3) {
  const V a = hn::ConcatLowerLower(d, r2, r0);  // blocks 00 01 20 21
  const V b = hn::ConcatLowerLower(d, r3, r1);  // 10 11 30 31
  const V e = hn::ConcatUpperUpper(d, r2, r0);  // 02 03 22 23
  const V f = hn::ConcatUpperUpper(d, r3, r1);  // 12 13 32 33
  r0 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a);
  r1 = hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a));
  r2 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(f), e);
  r3 = hn::OddEvenBlocks(f, hn::SwapAdjacentBlocks(e));
}
#endif  // !HWY_HAVE_SCALABLE

// Turns a square of Lanes(d) x Lanes(d): load(i) returns row i, and store(v, j)
// takes column j.
template <class D, class Load, class Store>
HWY_INLINE void TransposeSquare(D d, const Load& load, const Store& store) {
#if HWY_HAVE_SCALABLE
  auto r0 = load(0);
  auto r1 = load(1);
  auto r2 = load(2);
  auto r3 = load(3);
  TransposeInBlocks(d, r0, r1, r2, r3);
  store(r0, 0);
  store(r1, 1);
  store(r2, 2);
  store(r3, 3);
#else
  constexpr size_t kSide = hn::MaxLanes(D());
  static_assert(kSide == 4 || kSide == 8 || kSide == 16);
  hn::Vec<D> v[kSide];
  for (size_t i = 0; i < kSide; ++i) v[i] = load(i);
  if constexpr (kSide == 8) {
    for (size_t i = 0; i < 4; ++i) TransposeBlocks(d, v[i], v[4 + i]);
  }
  if constexpr (kSide == 16) {
    for (size_t i = 0; i < 4; ++i) {
      TransposeBlocks(d, v[i], v[4 + i], v[8 + i], v[12 + i]);
    }
  }
  for (size_t i = 0; i < kSide; i += 4) {
    TransposeInBlocks(d, v[i], v[i + 1], v[i + 2], v[i + 3]);
  }
  for (size_t i = 0; i < kSide; ++i) store(v[i], i);
#endif
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_TRANSPOSE_INL_H_
