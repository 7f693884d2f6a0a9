// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of variants: functions of doubles whose bits do not depend on the
// host's math library, as those of <cmath> do. Additions, products, quotients
// and std::fmod, which IEEE 754 leaves no choice, in a fixed order: so bits are
// the same on every CPU where the compiler contracts nothing
// (-ffp-contract=off) and rounding is to nearest. Within 1e-15 of the result,
// for Log and Log1p of the larger of it and their argument's distance from 1;
// enough to be rounded to float.
#ifndef HEED_PORTABLE_MATH_H_
#define HEED_PORTABLE_MATH_H_

#include <cmath>
#include <cstdint>
#include <cstring>

namespace heed::portable {

namespace detail {

inline uint64_t BitsOf(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline double OfBits(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Added and taken away it leaves the nearest integer, whose last bits are those
// of the sum.
constexpr double kShift = 0x1.8p52;
constexpr double kLn2 = 0.693147180559945309417;

// 1/1!, 1/2!, ...
constexpr double kInverseFactorials[] = {1.0,
                                         1.0 / 2,
                                         1.0 / 6,
                                         1.0 / 24,
                                         1.0 / 120,
                                         1.0 / 720,
                                         1.0 / 5040,
                                         1.0 / 40320,
                                         1.0 / 362880,
                                         1.0 / 3628800,
                                         1.0 / 39916800,
                                         1.0 / 479001600,
                                         1.0 / 6227020800,
                                         1.0 / 87178291200,
                                         1.0 / 1307674368000,
                                         1.0 / 20922789888000};

// exp(x) - 1 for |x| at most 0.35, by its series.
inline double ExpMinusOneWithin(double x) {
  double p = kInverseFactorials[13];
  for (int k = 12; k >= 0; --k) p = p * x + kInverseFactorials[k];
  return p * x;
}

// 2 atanh(s) for |s| at most 0.172.
inline double TwiceAtanh(double s) {
  constexpr double kOdd[] = {1.0,      1.0 / 3,  1.0 / 5,  1.0 / 7,
                             1.0 / 9,  1.0 / 11, 1.0 / 13, 1.0 / 15,
                             1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23};
  const double z = s * s;
  double p = kOdd[11];
  for (int k = 10; k >= 0; --k) p = p * z + kOdd[k];
  return 2 * s * p;
}

// 2^n (1 + less), for n of -1022 to 1023.
inline double Scaled(double n, double less) {
  const int64_t exponent = 1023 + static_cast<int64_t>(n);
  return (1 + less) * OfBits(static_cast<uint64_t>(exponent) << 52);
}

}  // namespace detail

// exp(x); 0 where it would be below 2^-1021, infinite above exp(709).
inline double Exp(double x) {
  if (std::isnan(x)) return x;
  if (x < -708) return 0;
  if (x > 709) return HUGE_VAL;
  // ln 2 in two doubles, the first of 32 bits.
  constexpr double kHigh = 0x1.62e42feep-1, kLow = 1.90821492927058770002e-10;
  const double n = x * (1 / detail::kLn2) + detail::kShift - detail::kShift;
  return detail::Scaled(n, detail::ExpMinusOneWithin(x - n * kHigh - n * kLow));
}

// 1 - exp(x), with all digits near 0.
inline double OneMinusExp(double x) {
  return std::fabs(x) <= 0.34 ? -detail::ExpMinusOneWithin(x) : 1 - Exp(x);
}

// 1 / (1 + exp(-x)).
inline double Sigmoid(double x) { return 1 / (1 + Exp(-x)); }

// The natural logarithm; -inf of 0, NaN below.
inline double Log(double x) {
  if (!(x > 0)) return x == 0 ? -HUGE_VAL : NAN;
  if (x == HUGE_VAL) return x;
  int64_t exponent = -1023;
  if (x < 0x1p-1022) {  // subnormal
    x *= 0x1p54;
    exponent -= 54;
  }
  const uint64_t bits = detail::BitsOf(x);
  exponent += static_cast<int64_t>(bits >> 52);
  double m = detail::OfBits((bits & 0xfffffffffffffu) | uint64_t{1023} << 52);
  if (m > 1.41421356237309504880) {
    m *= 0.5;
    ++exponent;
  }
  return static_cast<double>(exponent) * detail::kLn2 +
         detail::TwiceAtanh((m - 1) / (m + 1));
}

// log(1 + x), with all digits near 0.
inline double Log1p(double x) {
  return std::fabs(x) <= 0.25 ? detail::TwiceAtanh(x / (2 + x)) : Log(1 + x);
}

// 2^x, with the ends of Exp.
inline double Exp2(double x) {
  if (!(std::fabs(x) <= 1021)) return Exp(x * detail::kLn2);
  const double n = x + detail::kShift - detail::kShift;
  return detail::Scaled(n, detail::ExpMinusOneWithin((x - n) * detail::kLn2));
}

struct SineAndCosine {
  double sine, cosine;
};

// Of an angle: by the series within an eighth of a turn, after whole quarters
// are taken off. NaN for NaN and infinities. Beyond 2^20 whole turns, of 2 pi
// as a double has it, go first.
inline SineAndCosine SinCos(double x) {
  if (!(std::fabs(x) <= 0x1p20)) x = std::fmod(x, 6.283185307179586);
  // pi / 2 in three doubles, the first two of 33 bits: products are exact.
  constexpr double kFirst = 1.57079632673412561417e+00;
  constexpr double kSecond = 6.07710050630396597660e-11;
  constexpr double kThird = 2.02226624879595063154e-21;
  const double shifted = x * 0.636619772367581343076 + detail::kShift;
  const double n = shifted - detail::kShift;
  const double r = x - n * kFirst - n * kSecond - n * kThird;
  const double z = -r * r;
  const double* const inverse = detail::kInverseFactorials;
  double sine = inverse[14], cosine = inverse[15];
  for (int k = 12; k >= 0; k -= 2) sine = sine * z + inverse[k];
  for (int k = 13; k >= 1; k -= 2) cosine = cosine * z + inverse[k];
  sine *= r;
  cosine = cosine * z + 1;
  const uint64_t quarter = detail::BitsOf(shifted);
  const bool swap = (quarter & 1) != 0;
  const double s = swap ? cosine : sine, c = swap ? sine : cosine;
  return {(quarter & 2) != 0 ? -s : s, ((quarter + 1) & 2) != 0 ? -c : c};
}

}  // namespace heed::portable

#endif  // HEED_PORTABLE_MATH_H_
