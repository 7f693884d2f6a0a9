// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// hwy_math-inl.h one number at a time, by std::fma: the same bits.
#ifndef HEED_LIB_KERNELS_SCALAR_MATH_H_
#define HEED_LIB_KERNELS_SCALAR_MATH_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "lib/kernels/coefficients.h"

namespace heed::internal::scalar {

inline float PowerOfTwo(float shifted) {
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits <<= 23;
  std::memcpy(&shifted, &bits, sizeof(bits));
  return shifted;
}

inline float Cut(float x) { return x < kCutBelow ? kCutTo : x; }

template <int kCount>
float Horner(float x, const float (&coefficient)[kCount]) {
  float p = coefficient[0];
  for (int i = 1; i < kCount; ++i) p = std::fma(p, x, coefficient[i]);
  return p;
}

inline float Exp2(float x) {
  x = Cut(x);
  const float shifted = x + kRoundShift;
  return Horner(x - (shifted - kRoundShift), kExp2Coefficients) *
         PowerOfTwo(shifted);
}

inline float Rescale(float x) { return PowerOfTwo(Cut(x) + kRoundShift); }

inline float Tanh(float x) {
  float a = std::fabs(x);
  if (a > kTanhOne) a = kTanhOne;
  const float z = a * a;
  const float near = std::fma(Horner(z, kTanhCoefficients) * z, a, a);
  const float far = 1.0f - 2.0f / (Exp2(a * (2 * kLog2E)) + 1.0f);
  return std::copysign(a < kTanhNear ? near : far, x);
}

inline float LogSum(float m, float l) {
  if (l == 0.0f) return -INFINITY;
  if (l != l) return l;
  uint32_t bits;
  std::memcpy(&bits, &l, sizeof(bits));
  bits -= kHalfRootBits;
  const float e = static_cast<float>(static_cast<int32_t>(bits) >> 23);
  bits = (bits & 0x7fffffu) + kHalfRootBits;
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  const float x = y - 1.0f;
  const float p = Horner(x, kLogCoefficients);
  const float log_y = std::fma(std::fma(p, x, -0.5f), x * x, x);
  const float a = m + e;
  return std::fma(a, kLogTwoHigh, std::fma(a, kLogTwoLow, log_y));
}

}  // namespace heed::internal::scalar

#endif  // HEED_LIB_KERNELS_SCALAR_MATH_H_
