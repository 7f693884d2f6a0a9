// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The primitives of heed/ops.h compiled once per target, and the table of each.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/ops_table.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/ops.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hadamard-inl.h"
#include "lib/kernels/ops_matmul-inl.h"
#include "lib/kernels/ops_panel-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {

// A vector has at most as many lanes as a reduction has partial sums.
using Tag = hn::CappedTag<float, internal::kPartialSums>;
static_assert(internal::kPartialSums == kMaxLanes);

// y[i] = step(d, x[i], y[i]) a vector at a time, the last elements by way of
// buffers, so that no load or store leaves the arrays.
template <class Step>
HWY_INLINE void Map(const float* x, float* y, int64_t count, const Step& step) {
  const Tag d;
  const size_t N = hn::Lanes(d);
  const size_t n = static_cast<size_t>(count);
  size_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(step(d, hn::LoadU(d, x + i), y + i), d, y + i);
  }
  if (i == n) return;
  float from[kMaxLanes] = {};
  float to[kMaxLanes] = {};
  for (size_t j = 0; i + j < n; ++j) {
    from[j] = x[i + j];
    if (Step::kReadsOutput) to[j] = y[i + j];
  }
  hn::StoreU(step(d, hn::LoadU(d, from), to), d, to);
  for (size_t j = 0; i + j < n; ++j) y[i + j] = to[j];
}

struct AxpyStep {
  static constexpr bool kReadsOutput = true;
  float a;
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V operator()(D d, V x, const float* y) const {
    return hn::MulAdd(hn::Set(d, a), x, hn::LoadU(d, y));
  }
};

struct ScaleStep {
  static constexpr bool kReadsOutput = false;
  float a;
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V operator()(D d, V x, const float* /*y*/) const {
    return hn::Mul(hn::Set(d, a), x);
  }
};

struct DivideStep {
  static constexpr bool kReadsOutput = false;
  float by;
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V operator()(D d, V x, const float* /*y*/) const {
    return hn::Div(x, hn::Set(d, by));
  }
};

// 2^n for integers n in [-126, 127].
template <class D, class DI = hn::Rebind<int32_t, D>>
HWY_INLINE hn::Vec<D> Power(D d, hn::Vec<DI> n) {
  const DI di;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpVector(D d, V x) {
  using internal::kExpCoefficients;
  const hn::Rebind<int32_t, D> di;
  const V low = hn::Set(d, internal::kExpZeroBelow);
  const V high = hn::Set(d, internal::kExpClamp);
  // A NaN fails both comparisons and would meet the conversion below: zero.
  V y = hn::IfThenElseZero(hn::Eq(x, x), x);
  y = hn::IfThenElse(hn::Lt(y, low), low, y);
  y = hn::IfThenElse(hn::Lt(high, y), high, y);
  const V n = hn::Round(hn::Mul(y, hn::Set(d, internal::kLog2E)));
  V r = hn::NegMulAdd(n, hn::Set(d, internal::kLog2High), y);
  r = hn::NegMulAdd(n, hn::Set(d, internal::kLog2Low), r);
  V p = hn::Set(d, kExpCoefficients[0]);
  p = hn::MulAdd(p, r, hn::Set(d, kExpCoefficients[1]));
  p = hn::MulAdd(p, r, hn::Set(d, kExpCoefficients[2]));
  p = hn::MulAdd(p, r, hn::Set(d, kExpCoefficients[3]));
  p = hn::MulAdd(p, r, hn::Set(d, kExpCoefficients[4]));
  p = hn::MulAdd(p, r, hn::Set(d, kExpCoefficients[5]));
  p = hn::MulAdd(p, r, hn::Set(d, kExpCoefficients[6]));
  const auto whole = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(whole);
  p = hn::Mul(hn::Mul(p, Power(d, half)), Power(d, hn::Sub(whole, half)));
  p = hn::IfThenElse(hn::Lt(x, low), hn::Zero(d), p);
  return hn::IfThenElse(hn::Eq(x, x), p, x);
}

// exp(x - by).
struct ExpStep {
  static constexpr bool kReadsOutput = false;
  float by;
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V operator()(D d, V x, const float* /*y*/) const {
    return ExpVector(d, hn::Sub(x, hn::Set(d, by)));
  }
};

void Axpy(float a, const float* x, float* y, int64_t n) {
  Map(x, y, n, AxpyStep{a});
}

void Scale(float a, float* x, int64_t n) { Map(x, x, n, ScaleStep{a}); }

void Exp(const float* x, float* y, int64_t n) { Map(x, y, n, ExpStep{0.0f}); }

// Adds sixteen products (or, where kOnes, sixteen elements of a) to the chains,
// of which 16 / N vectors are used.
template <bool kOnes, class V>
HWY_INLINE void AddSixteen(const float* a, const float* b, V& s0, V& s1, V& s2,
                           V& s3) {
  const Tag d;
  const size_t N = hn::Lanes(d);
  const V one = hn::Set(d, 1.0f);
  s0 = hn::MulAdd(hn::LoadU(d, a), kOnes ? one : hn::LoadU(d, b), s0);
  if (N >= 16) return;
  s1 = hn::MulAdd(hn::LoadU(d, a + N), kOnes ? one : hn::LoadU(d, b + N), s1);
  if (N >= 8) return;
  s2 = hn::MulAdd(hn::LoadU(d, a + 2 * N),
                  kOnes ? one : hn::LoadU(d, b + 2 * N), s2);
  s3 = hn::MulAdd(hn::LoadU(d, a + 3 * N),
                  kOnes ? one : hn::LoadU(d, b + 3 * N), s3);
}

// Element i goes to chain i modulo 16.
template <bool kOnes>
HWY_INLINE float SumProducts(const float* a, const float* b, int64_t count) {
  const Tag d;
  const size_t N = hn::Lanes(d);
  const size_t n = static_cast<size_t>(count);
  auto s0 = hn::Zero(d);
  auto s1 = hn::Zero(d);
  auto s2 = hn::Zero(d);
  auto s3 = hn::Zero(d);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    AddSixteen<kOnes>(a + i, b + i, s0, s1, s2, s3);
  }
  if (i < n) {
    float rest_a[16] = {};
    float rest_b[16] = {};
    for (size_t j = 0; i + j < n; ++j) {
      rest_a[j] = a[i + j];
      rest_b[j] = b[i + j];
    }
    AddSixteen<kOnes>(rest_a, rest_b, s0, s1, s2, s3);
  }
  float partial[internal::kPartialSums];
  hn::StoreU(s0, d, partial);
  if (N < 16) hn::StoreU(s1, d, partial + N);
  if (N < 8) {
    hn::StoreU(s2, d, partial + 2 * N);
    hn::StoreU(s3, d, partial + 3 * N);
  }
  return internal::AddPartialSums(partial);
}

float Dot(const float* a, const float* b, int64_t n) {
  return SumProducts<false>(a, b, n);
}

float Largest(const float* x, int64_t count) {
  const Tag d;
  const size_t N = hn::Lanes(d);
  const size_t n = static_cast<size_t>(count);
  auto largest = hn::Set(d, -INFINITY);
  size_t i = 0;
  for (; i + N <= n; i += N) largest = hn::Max(largest, hn::LoadU(d, x + i));
  float lane[kMaxLanes];
  hn::StoreU(largest, d, lane);
  float max = lane[0];
  for (size_t j = 1; j < N; ++j) max = max < lane[j] ? lane[j] : max;
  for (; i < n; ++i) max = max < x[i] ? x[i] : max;
  return max + 0.0f;  // of zeros of both signs, whichever came first: +0
}

float Softmax(float* x, int64_t n) {
  const float max = Largest(x, n);  // a NaN reaches the sum
  if (max == -INFINITY) {
    // All are -inf, or a NaN hides: then the sum below is NaN and tells.
    float sum = 0.0f;
    for (int64_t i = 0; i < n; ++i) sum += x[i] == -INFINITY ? 0.0f : x[i];
    for (int64_t i = 0; i < n; ++i) x[i] = sum;
    return sum == 0.0f ? -INFINITY : sum;
  }
  Map(x, x, n, ExpStep{max});
  const float sum = SumProducts<true>(x, x, n);
  Map(x, x, n, DivideStep{sum});
  return internal::LogOfSum(max, sum);
}

void Widen(DType type, const void* from, int64_t n, float* to) {
  WidenRow(type, from, static_cast<size_t>(n), to);
}

void WidenScaled(const int8_t* from, int64_t n, float scale, float* to) {
  WidenRow(from, static_cast<size_t>(n), scale, to);
}

void Narrow(DType type, const float* from, int64_t n, void* to) {
  NarrowRow(type, from, static_cast<size_t>(n), to);
}

void Rotate(float* row, int64_t n) { RotateRow(row, static_cast<size_t>(n)); }

constexpr internal::OpsTable kTable = {
    /*same_bits=*/HEED_TARGET_FACTS.same_bits,
    /*matmul=*/&MatMul,
    /*dot=*/&Dot,
    /*axpy=*/&Axpy,
    /*scale=*/&Scale,
    /*exp=*/&Exp,
    /*largest=*/&Largest,
    /*softmax=*/&Softmax,
    /*widen=*/&Widen,
    /*widen_scaled=*/&WidenScaled,
    /*narrow=*/&Narrow,
    /*rotate=*/&Rotate,
    /*multiply_panel=*/&MultiplyPanel,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#if HWY_ONCE
namespace heed::internal {

const OpsTable* HighwayOps(Target target) {
  static constexpr const OpsTable* kTables[] = {HEED_TABLES};
  return kTables[static_cast<int>(target)];
}

}  // namespace heed::internal
#endif  // HWY_ONCE
