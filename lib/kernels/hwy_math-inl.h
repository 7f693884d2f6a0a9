// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// exp2, tanh and log of the kernels, the same bits on every target with FMA.
// docs/numerics.md defines them; Highway's own differ per target in NaN and
// range.
#if defined(HEED_LIB_KERNELS_HWY_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_HWY_MATH_INL_H_
#undef HEED_LIB_KERNELS_HWY_MATH_INL_H_
#else
#define HEED_LIB_KERNELS_HWY_MATH_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/coefficients.h"
#include "lib/kernels/hwy_targets.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> MinusInfinity(D d) {
  return hn::BitCast(d, hn::Set(hn::Rebind<uint32_t, D>(), 0xff800000u));
}

// A NaN compares false and stays.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V CutWeight(D d, V x) {
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, internal::kCutBelow)),
                        hn::Set(d, internal::kCutTo), x);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfTwo(D d, V shifted) {
  const hn::Rebind<uint32_t, D> du;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, shifted)));
}

template <class D, int kCount, class V = hn::Vec<D>>
HWY_INLINE V Horner(D d, V x, const float (&coefficient)[kCount]) {
  V p = hn::Set(d, coefficient[0]);
  for (int i = 1; i < kCount; ++i) {
    p = hn::MulAdd(p, x, hn::Set(d, coefficient[i]));
  }
  return p;
}

// 2^x for x in [-100, 127], 0 below, NaN for NaN; relative error 1.6e-7. The
// last step is a product rather than an addition to the exponent field: the
// latter would turn some NaNs into numbers.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2(D d, V x) {
  x = CutWeight(d, x);
  const V shifted = hn::Add(x, hn::Set(d, internal::kRoundShift));
  const V f = hn::Sub(x, hn::Sub(shifted, hn::Set(d, internal::kRoundShift)));
  return hn::Mul(Horner(d, f, internal::kExp2Coefficients),
                 PowerOfTwo(d, shifted));
}

// 2^x for integers x <= 0, exact; 0 below -100.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Rescale(D d, V x) {
  return PowerOfTwo(
      d, hn::Add(CutWeight(d, x), hn::Set(d, internal::kRoundShift)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V most = hn::Set(d, internal::kTanhOne);
  V a = hn::Abs(x);
  a = hn::IfThenElse(hn::Lt(most, a), most, a);
  const V z = hn::Mul(a, a);
  const V p = Horner(d, z, internal::kTanhCoefficients);
  const V near = hn::MulAdd(hn::Mul(p, z), a, a);
  const V one = hn::Set(d, 1.0f);
  const V e = Exp2(d, hn::Mul(a, hn::Set(d, 2 * internal::kLog2E)));
  const V far = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(e, one)));
  return hn::CopySign(
      hn::IfThenElse(hn::Lt(a, hn::Set(d, internal::kTanhNear)), near, far), x);
}

// log(2^m * l); -inf for l = 0, NaN for NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogSum(D d, V m, V l) {
  const hn::Rebind<uint32_t, D> du;
  const hn::Rebind<int32_t, D> di;
  // l = 2^e * y with y in [sqrt(1/2), sqrt(2)).
  const auto half_root = hn::Set(du, internal::kHalfRootBits);
  const auto shifted = hn::Sub(hn::BitCast(du, l), half_root);
  const V e = hn::ConvertTo(d, hn::ShiftRight<23>(hn::BitCast(di, shifted)));
  const V y = hn::BitCast(
      d, hn::Add(hn::And(shifted, hn::Set(du, 0x7fffffu)), half_root));
  const V x = hn::Sub(y, hn::Set(d, 1.0f));
  const V p = Horner(d, x, internal::kLogCoefficients);
  const V xx = hn::Mul(x, x);
  const V log_y = hn::MulAdd(hn::MulAdd(p, x, hn::Set(d, -0.5f)), xx, x);
  const V a = hn::Add(m, e);
  const V low = hn::MulAdd(a, hn::Set(d, internal::kLogTwoLow), log_y);
  V log = hn::MulAdd(a, hn::Set(d, internal::kLogTwoHigh), low);
  log = hn::IfThenElse(hn::Eq(l, hn::Zero(d)), MinusInfinity(d), log);
  return hn::IfThenElse(hn::Eq(l, l), log, l);
}

// Merges the state of a key of score `logit` and value 0 into (m, l), and sets
// `alpha` to what acc is multiplied by. -inf counts for nothing; NaN and +inf
// make l NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void AddSink(D d, V logit, V& m, V& l, V& alpha) {
  const V sink = hn::Mul(logit, hn::Set(d, internal::kLog2E));
  const hn::Rebind<uint32_t, D> du;
  const V infinity = hn::BitCast(d, hn::Set(du, 0x7f800000u));
  const V nan = hn::BitCast(d, hn::Set(du, 0x7fc00000u));
  const auto finite = hn::Lt(hn::Abs(sink), infinity);
  const auto none = hn::Eq(sink, MinusInfinity(d));
  const V score = hn::IfThenElseZero(finite, sink);
  const V own = hn::Round(score);
  const V weight = Exp2(d, hn::Sub(score, own));
  const V max = hn::Max(m, own);
  alpha = hn::IfThenElse(finite, Rescale(d, hn::Sub(m, max)), hn::Set(d, 1.0f));
  const V sum =
      hn::MulAdd(Rescale(d, hn::Sub(own, max)), weight, hn::Mul(alpha, l));
  l = hn::IfThenElse(finite, sum, hn::IfThenElse(none, l, nan));
  m = hn::IfThenElse(finite, max, m);
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_HWY_MATH_INL_H_
