// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Cosines and sines without libm, whose last bit differs from one to the next.
#include <bit>
#include <cmath>
#include <cstdint>

#include "heed/rope.h"
#include "lib/core/check.h"
#include "lib/kernels/kernel_table.h"

namespace heed {
namespace {

constexpr double kLog2E = 1.44269504088896340736;
constexpr double kLn2 = 0.693147180559945309417;
constexpr double kMostFrequency = 16.0;

// log2 of a positive, finite number: e + 2 atanh(s) / ln 2, s = (m - 1) / (m +
// 1), m in [sqrt(1/2), sqrt(2)); terms beyond the last are below 2^-60.
double Log2(double x) {
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
  return exponent + 2 * s * sum * kLog2E;
}

// 2^x by the series of exp, for |f| up to ln(2) / 2.
double Exp2(double x) {
  const double n = std::nearbyint(x);
  const double f = (x - n) * kLn2;
  double p = 1;
  for (int k = 16; k > 0; --k) p = 1 + p * f / k;
  return std::ldexp(p, static_cast<int>(n));
}

struct SinCos {
  double sin, cos;
};

// By the series within a quarter of pi, after whole quarter turns are taken
// off: pi / 2 is in two doubles, each product exact.
SinCos SinCosOf(double x) {
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

Status CheckRotaryDim(int64_t rotary_dim) {
  if (rotary_dim >= 2 && rotary_dim <= internal::kMaxHeadDim &&
      rotary_dim % 2 == 0) {
    return Status();
  }
  return internal::Invalid("rotary_dim", "must be even, 2 to 1024")
      .WithValue(rotary_dim)
      .WithBound(internal::kMaxHeadDim, BoundKind::kSaid);
}

}  // namespace

Status RopeFrequencies(double theta, int64_t rotary_dim, double* frequency) {
  const Status status = CheckRotaryDim(rotary_dim);
  if (!status.ok()) return status;
  if (!(theta > 0 && std::isfinite(theta))) {
    return internal::Invalid("theta", "must be finite and above 0");
  }
  if (frequency == nullptr) return internal::Invalid("frequency", "is null");
  const double log_theta = Log2(theta);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    frequency[i] = Exp2(-log_theta * static_cast<double>(2 * i) /
                        static_cast<double>(rotary_dim));
  }
  return Status();
}

Status FillRopeTables(const double* frequency, int64_t rotary_dim,
                      int64_t first, int64_t count, float* cos, float* sin) {
  const Status status = CheckRotaryDim(rotary_dim);
  if (!status.ok()) return status;
  if (first < 0 || first > INT32_MAX) {
    return internal::Invalid("first", "must be 0 to 2^31 - 1").WithValue(first);
  }
  if (count < 0 || count > int64_t{INT32_MAX} + 1 - first) {
    return internal::Invalid("count", "must leave positions below 2^31")
        .WithValue(count);
  }
  if (frequency == nullptr) return internal::Invalid("frequency", "is null");
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    if (std::fabs(frequency[i]) <= kMostFrequency) continue;
    return internal::Invalid("frequency", "must be finite, at most 16 in size")
        .WithIndex(i);
  }
  if (count == 0) return Status();
  if (cos == nullptr) return internal::Invalid("cos", "is null");
  if (sin == nullptr) return internal::Invalid("sin", "is null");
  for (int64_t s = 0; s < count; ++s) {
    for (int64_t i = 0; i < half; ++i) {
      const SinCos at = SinCosOf(static_cast<double>(first + s) * frequency[i]);
      cos[s * half + i] = static_cast<float>(at.cos);
      sin[s * half + i] = static_cast<float>(at.sin);
    }
  }
  return Status();
}

}  // namespace heed
