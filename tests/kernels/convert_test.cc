// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The conversions of heed/types.h against the definition of the formats.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "heed/types.h"
#include "tests/support/formats.h"

namespace heed::test {
namespace {

TEST(Convert, WidenIsTheDefinition) {
  for (const Format& format : {kBF16, kF16, kE4M3, kE5M2}) {
    for (uint32_t bits = 0; bits < format.patterns(); ++bits) {
      const double want = format.Value(bits);
      const float got = ScalarWiden(format, bits);
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got)) << format.name << " " << bits;
      } else {
        ASSERT_EQ(static_cast<double>(got), want) << format.name << " " << bits;
      }
      ASSERT_EQ(std::signbit(got), bits >= format.magnitudes())
          << format.name << " " << bits;
    }
  }
}

TEST(Convert, NarrowIsTheDefinition) {
  for (const Format& format : {kBF16, kF16}) {
    std::vector<double> numbers;
    for (uint32_t m = 0; m <= format.End(); ++m) {
      numbers.push_back(format.Magnitude(m));
    }
    for (const float x : NarrowInputs(format)) {
      const uint16_t got = ScalarNarrow(format, x);
      const uint32_t magnitude = got & 0x7fffu;
      ASSERT_EQ(got >> 15 != 0, std::signbit(x)) << format.name << " " << x;
      if (std::isnan(x)) {
        // Quiet, with as much of the payload as there is room for.
        const uint32_t payload = BitsOf(x) << 9 >> (32 - format.mantissa);
        const uint32_t quiet = 1u << (format.mantissa - 1);
        ASSERT_EQ(magnitude, format.End() | quiet | payload) << BitsOf(x);
        continue;
      }
      const double wanted = std::fabs(static_cast<double>(x));
      size_t want = static_cast<size_t>(
          std::lower_bound(numbers.begin(), numbers.end(), wanted) -
          numbers.begin());
      if (want == numbers.size()) {
        --want;
      } else if (want > 0) {
        const double below = wanted - numbers[want - 1];
        const double above = numbers[want] - wanted;
        if (below < above || (below == above && want % 2 == 1)) --want;
      }
      ASSERT_EQ(magnitude, want) << format.name << " " << x;
    }
  }
}

TEST(Convert, ThereAndBack) {
  for (const Format& format : {kBF16, kF16}) {
    for (uint32_t bits = 0; bits < format.patterns(); ++bits) {
      const float x = ScalarWiden(format, bits);
      const uint32_t quiet = 1u << (format.mantissa - 1);
      ASSERT_EQ(ScalarNarrow(format, x), std::isnan(x) ? bits | quiet : bits);
    }
  }
}

TEST(Convert, Types) {
  EXPECT_EQ(SizeOf(DTypeOf<f8_e4m3>::value), int64_t{sizeof(f8_e4m3)});
  EXPECT_EQ(SizeOf(DTypeOf<f8_e5m2>::value), int64_t{sizeof(f8_e5m2)});
  EXPECT_STREQ(NameOf(DType::kF8E4M3), "f8_e4m3");
  EXPECT_STREQ(NameOf(DType::kF8E5M2), "f8_e5m2");
}

}  // namespace
}  // namespace heed::test
