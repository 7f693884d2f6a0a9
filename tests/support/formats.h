// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The storage types of heed/types.h by definition, for tests of conversions:
// shares no code with the library's.
#ifndef HEED_TESTS_SUPPORT_FORMATS_H_
#define HEED_TESTS_SUPPORT_FORMATS_H_

#include <cstdint>
#include <vector>

#include "heed/types.h"

namespace heed::test {

uint32_t BitsOf(float x);
float FloatOf(uint32_t bits);

// A binary format, by the number of bits of its fields.
struct Format {
  const char* name;
  DType dtype;
  int exponent, mantissa;
  bool infinity;  // else the largest exponent is an ordinary one

  uint32_t patterns() const { return 2u << (exponent + mantissa); }
  uint32_t magnitudes() const { return patterns() / 2; }

  // The magnitude with these bits; the first after the largest finite one is
  // what it would be if exponents went on.
  double Magnitude(uint32_t bits) const;
  // The first magnitude that is not finite.
  uint32_t End() const {
    return infinity ? ((1u << exponent) - 1) << mantissa : magnitudes() - 1;
  }
  // What these bits, with the sign, are.
  double Value(uint32_t bits) const;
};

constexpr Format kBF16 = {"bf16", DType::kBF16, 8, 7, true};
constexpr Format kF16 = {"f16", DType::kF16, 5, 10, true};
constexpr Format kE4M3 = {"f8_e4m3", DType::kF8E4M3, 4, 3, false};
constexpr Format kE5M2 = {"f8_e5m2", DType::kF8E5M2, 5, 2, true};

// The scalar conversions of heed/types.h, by format.
float ScalarWiden(const Format& format, uint32_t bits);
uint16_t ScalarNarrow(const Format& format, float x);

// Floats at which rounding to a 16-bit format decides, of both signs: all of
// its numbers, the middles between them and the floats beside those; the ends
// of float; NaNs.
std::vector<float> Critical(const Format& format);

// Those and millions of random ones.
std::vector<float> NarrowInputs(const Format& format);

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_FORMATS_H_
