// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Functions of doubles without libm, whose last bit differs from one to the
// next: for tables, not for speed.
#ifndef HEED_LIB_CORE_DOUBLE_MATH_H_
#define HEED_LIB_CORE_DOUBLE_MATH_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace heed::internal {

inline constexpr double kDoubleLog2E = 1.44269504088896340736;
inline constexpr double kDoubleLn2 = 0.693147180559945309417;

// log2 of a positive, finite number: e + 2 atanh(s) / ln 2, s = (m - 1) / (m +
// 1), m in [sqrt(1/2), sqrt(2)); terms beyond the last are below 2^-60.
inline double Log2(double x) {
  int exponent = 0;
  if (x < 0x1p-1022) {  // subnormal
    x *= 0x1p54;
    exponent = -54;
  }
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  exponent += static_cast<int>(bits >> 52) - 1023;
  double m =
      std::bit_cast<double>((bits & 0xfffffffffffffu) | uint64_t{1023} << 52);
  if (m > 1.41421356237309504880) {
    m /= 2;
    ++exponent;
  }
  const double s = (m - 1) / (m + 1);
  double sum = 0;
  for (int k = 12; k >= 0; --k) sum = sum * s * s + 1.0 / (2 * k + 1);
  return exponent + 2 * s * sum * kDoubleLog2E;
}

// 2^x by the series of exp, for |f| up to ln(2) / 2.
inline double Exp2(double x) {
  const double n = std::nearbyint(x);
  const double f = (x - n) * kDoubleLn2;
  double p = 1;
  for (int k = 16; k > 0; --k) p = 1 + p * f / k;
  return std::ldexp(p, static_cast<int>(n));
}

struct SinCos {
  double sin, cos;
};

// By the series within a quarter of pi, after whole quarter turns are taken
// off: pi / 2 is in two doubles, each product exact.
inline SinCos SinCosOf(double x) {
  constexpr double kTurns = 0.636619772367581343076;  // 2 / pi
  constexpr double kHigh = 0x1.921fb54442d18p0;
  constexpr double kLow = 0x1.1a62633145c07p-54;
  const double n = std::nearbyint(x * kTurns);
  const double r = std::fma(-n, kLow, std::fma(-n, kHigh, x));
  const double z = -r * r;
  double sin = 1, cos = 1;
  for (int k = 18; k > 0; k -= 2) {
    sin = 1 + sin * z / (k * (k + 1));
    cos = 1 + cos * z / (k * (k - 1));
  }
  sin *= r;
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      return {sin, cos};
    case 1:
      return {cos, -sin};
    case 2:
      return {-sin, -cos};
    default:
      return {-cos, sin};
  }
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_DOUBLE_MATH_H_
