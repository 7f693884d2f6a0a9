// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The numbers of exp2, tanh and log, for kernels in lanes and one at a time.
// docs/numerics.md says what they are for, lib/oracle/bits.cc holds them to it.
#ifndef HEED_LIB_KERNELS_COEFFICIENTS_H_
#define HEED_LIB_KERNELS_COEFFICIENTS_H_

#include <cstdint>

namespace heed::internal {

inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLn2 = 0x1.62e43p-1f;

// Adding it leaves round-to-nearest(x) + 127 in the low bits of the sum: the
// exponent field of 2^round(x). 1.5 * 2^23 + 127.
inline constexpr float kRoundShift = 12583039.0f;

// A weight below 2^-100 of the row's maximum is exactly 0, so that none is a
// denormal: it is sent to -127, where the exponent field and so the power of
// two is 0.
inline constexpr float kCutBelow = -100.0f;
inline constexpr float kCutTo = -127.0f;

// Polynomials, highest power first.
inline constexpr float kExp2Coefficients[] = {0x1.5bba18p-10f, 0x1.3cea88p-7f,
                                              0x1.c6b752p-5f,  0x1.ebf9bcp-3f,
                                              0x1.62e42ap-1f,  1.0f};

// tanh: a + a^3 P(a^2) below kTanhNear, 1 - 2 / (2^(2 log2(e) a) + 1) above.
inline constexpr float kTanhCoefficients[] = {-0x1.76ac1cp-8f, 0x1.5256d8p-6f,
                                              -0x1.b84448p-5f, 0x1.110768p-3f,
                                              -0x1.555534p-2f};
inline constexpr float kTanhNear = 0.625f;
inline constexpr float kTanhOne = 10.0f;  // tanh is 1 in f32 from here on

// log(1 + x) = x - x^2/2 + x^3 P(x) for 1 + x in [sqrt(1/2), sqrt(2)).
inline constexpr float kLogCoefficients[] = {
    0x1.1b42c2p-4f,  -0x1.e2e9b4p-4f, 0x1.e650a2p-4f,
    -0x1.fb432ap-4f, 0x1.2332c0p-3f,  -0x1.5562e4p-3f,
    0x1.99a546p-3f,  -0x1.ffffeep-3f, 0x1.555546p-2f};
inline constexpr uint32_t kHalfRootBits = 0x3f3504f3u;  // sqrt(1/2)
// log(2) in two parts.
inline constexpr float kLogTwoHigh = 0x1.62e43p-1f;
inline constexpr float kLogTwoLow = -0x1.05c61p-29f;

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_COEFFICIENTS_H_
