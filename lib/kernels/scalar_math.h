// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// hwy_math-inl.h one number at a time, by std::fma: the same bits.
#ifndef HEED_LIB_KERNELS_SCALAR_MATH_H_
#define HEED_LIB_KERNELS_SCALAR_MATH_H_

#include <cmath>
#include <cstdint>
#include <cstring>

namespace heed::internal::scalar {

inline constexpr float kRoundShift = 12583039.0f;  // 1.5 * 2^23 + 127

inline float PowerOfTwo(float shifted) {
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits <<= 23;
  std::memcpy(&shifted, &bits, sizeof(bits));
  return shifted;
}

inline float Cut(float x) { return x < -100.0f ? -127.0f : x; }

inline float Horner(float x, const float* coefficient, int count) {
  float p = coefficient[0];
  for (int i = 1; i < count; ++i) p = std::fma(p, x, coefficient[i]);
  return p;
}

inline float Exp2(float x) {
  static constexpr float kCoefficients[] = {0x1.5bba18p-10f, 0x1.3cea88p-7f,
                                            0x1.c6b752p-5f,  0x1.ebf9bcp-3f,
                                            0x1.62e42ap-1f,  1.0f};
  x = Cut(x);
  const float shifted = x + kRoundShift;
  return Horner(x - (shifted - kRoundShift), kCoefficients, 6) *
         PowerOfTwo(shifted);
}

inline float Rescale(float x) { return PowerOfTwo(Cut(x) + kRoundShift); }

inline float Tanh(float x) {
  static constexpr float kCoefficients[] = {-0x1.76ac1cp-8f, 0x1.5256d8p-6f,
                                            -0x1.b84448p-5f, 0x1.110768p-3f,
                                            -0x1.555534p-2f};
  float a = std::fabs(x);
  if (a > 10.0f) a = 10.0f;
  const float z = a * a;
  const float near = std::fma(Horner(z, kCoefficients, 5) * z, a, a);
  const float far = 1.0f - 2.0f / (Exp2(a * 0x1.715476p+1f) + 1.0f);
  return std::copysign(a < 0.625f ? near : far, x);
}

inline float LogSum(float m, float l) {
  static constexpr float kCoefficients[] = {
      0x1.1b42c2p-4f,  -0x1.e2e9b4p-4f, 0x1.e650a2p-4f,
      -0x1.fb432ap-4f, 0x1.2332c0p-3f,  -0x1.5562e4p-3f,
      0x1.99a546p-3f,  -0x1.ffffeep-3f, 0x1.555546p-2f};
  if (l == 0.0f) return -INFINITY;
  if (l != l) return l;
  uint32_t bits;
  std::memcpy(&bits, &l, sizeof(bits));
  bits -= 0x3f3504f3u;
  const float e = static_cast<float>(static_cast<int32_t>(bits) >> 23);
  bits = (bits & 0x7fffffu) + 0x3f3504f3u;
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  const float x = y - 1.0f;
  const float p = Horner(x, kCoefficients, 9);
  const float log_y = std::fma(std::fma(p, x, -0.5f), x * x, x);
  const float a = m + e;
  return std::fma(a, 0x1.62e43p-1f, std::fma(a, -0x1.05c61p-29f, log_y));
}

}  // namespace heed::internal::scalar

#endif  // HEED_LIB_KERNELS_SCALAR_MATH_H_
