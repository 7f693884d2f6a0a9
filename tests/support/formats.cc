// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/eval/workload.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

// Any bits, and numbers in the range of an f16.
std::vector<float> Random(size_t count) {
  std::vector<float> list(count);
  eval::Random random(7);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(random.Next() >> 16);
    list[i] = FloatOf(i % 2 == 0 ? bits
                                 : (bits & 0x807fffffu) |
                                       (100 + (bits >> 23 & 0xff) % 46) << 23);
  }
  return list;
}

}  // namespace

uint32_t BitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

double Format::Magnitude(uint32_t bits) const {
  const int e = static_cast<int>(bits >> mantissa);
  const int m = static_cast<int>(bits & ((1u << mantissa) - 1));
  const int bias = (1 << (exponent - 1)) - 1;
  return e == 0 ? std::ldexp(m, 1 - bias - mantissa)
                : std::ldexp(m + (1 << mantissa), e - bias - mantissa);
}

double Format::Value(uint32_t bits) const {
  const uint32_t magnitude = bits % magnitudes();
  double value = Magnitude(magnitude);
  if (magnitude >= End()) {
    value = infinity && magnitude == End()
                ? std::numeric_limits<double>::infinity()
                : std::numeric_limits<double>::quiet_NaN();
  }
  return bits < magnitudes() ? value : -value;
}

float ScalarWiden(const Format& format, uint32_t bits) {
  const uint16_t half = static_cast<uint16_t>(bits);
  const uint8_t byte = static_cast<uint8_t>(bits);
  switch (format.dtype) {
    case DType::kBF16:
      return ToFloat(bf16{half});
    case DType::kF16:
      return ToFloat(f16{half});
    case DType::kF8E4M3:
      return ToFloat(f8_e4m3{byte});
    default:
      return ToFloat(f8_e5m2{byte});
  }
}

uint16_t ScalarNarrow(const Format& format, float x) {
  return format.dtype == DType::kBF16 ? ToBF16(x).bits : ToF16(x).bits;
}

std::vector<float> Critical(const Format& format) {
  std::vector<float> list;
  const auto add = [&](uint32_t bits) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      list.push_back(FloatOf(bits | sign));
    }
  };
  for (uint32_t m = 0; m <= format.End(); ++m) {
    const double here = format.Magnitude(m);
    const double middle =
        (here + format.Magnitude(std::min(m + 1, format.End()))) / 2;
    for (const double x : {here, middle}) {
      if (x > std::numeric_limits<float>::max()) continue;
      const uint32_t bits = BitsOf(static_cast<float>(x));
      for (uint32_t near = bits - (bits > 0); near <= bits + 1; ++near) {
        add(near);
      }
    }
  }
  for (int bit = 0; bit < 23; ++bit) {
    add(1u << bit);
    add((1u << bit) - 1);
    add(0x7f800000u | 1u << bit);  // signalling, but for the last
    add(0x7fffffffu ^ 1u << bit);
  }
  add(0x7f7fffffu);
  add(0x7f800000u);
  add(0x7fffffffu);
  return list;
}

std::vector<float> NarrowInputs(const Format& format) {
  std::vector<float> list = Critical(format);
  const std::vector<float> more = Random(Quick() ? 1 << 19 : 1 << 22);
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

}  // namespace heed::test
