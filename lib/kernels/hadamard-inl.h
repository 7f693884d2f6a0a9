// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The Hadamard rotation of a row (heed/kv.h), in place.
#if defined(HEED_LIB_KERNELS_HADAMARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_HADAMARD_INL_H_
#undef HEED_LIB_KERNELS_HADAMARD_INL_H_
#else
#define HEED_LIB_KERNELS_HADAMARD_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/scalar_rotate.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Sums and differences of elements `half` apart, in vectors that divide it.
template <class D>
HWY_INLINE void Butterflies(D d, float* HWY_RESTRICT row, size_t n,
                            size_t half) {
  const size_t N = hn::Lanes(d);
  for (size_t base = 0; base < n; base += 2 * half) {
    for (size_t i = base; i < base + half; i += N) {
      const auto a = hn::LoadU(d, row + i);
      const auto b = hn::LoadU(d, row + i + half);
      hn::StoreU(hn::Add(a, b), d, row + i);
      hn::StoreU(hn::Sub(a, b), d, row + i + half);
    }
  }
}

inline void RotateRow(float* HWY_RESTRICT row, size_t n) {
  const size_t block = internal::scalar::RotatedBlock(n);
  if (block < 16) return internal::scalar::RotateRow(row, n);
  const hn::CappedTag<float, 4> d4;
  const hn::Repartition<uint64_t, decltype(d4)> dw;
  const auto factor = hn::Set(d4, internal::scalar::RotationFactor(block));
  for (size_t i = 0; i < n; i += 4) {
    const auto v = hn::LoadU(d4, row + i);
    const auto next = hn::Shuffle2301(v);
    const auto one = hn::OddEven(hn::Sub(next, v), hn::Add(v, next));
    const auto far = hn::Shuffle1032(one);
    const auto two = hn::OddEven(hn::BitCast(dw, hn::Sub(far, one)),
                                 hn::BitCast(dw, hn::Add(one, far)));
    hn::StoreU(hn::BitCast(d4, two), d4, row + i);
  }
  Butterflies(d4, row, n, 4);
  Butterflies(hn::CappedTag<float, 8>(), row, n, 8);
  for (size_t half = 16; half < block; half *= 2) {
    Butterflies(hn::CappedTag<float, 16>(), row, n, half);
  }
  for (size_t i = 0; i < n; i += 4) {
    hn::StoreU(hn::Mul(hn::LoadU(d4, row + i), factor), d4, row + i);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_HADAMARD_INL_H_
