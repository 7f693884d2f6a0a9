// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Quantises rows of keys or values: portable, in double, so that every machine
// writes the same cache.
#include "lib/core/quantize_row.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace heed::internal {
namespace {

// The f8 nearest to x, the even one of two; the largest finite one beyond it.
// `mantissa` bits, exponents from `first` on.
uint8_t ToFloat8(double x, int mantissa, int first, int largest) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::fabs(x);
  // No f8 has an exponent of 16.
  int exponent = first;
  while (exponent < 16 && magnitude >= std::ldexp(1.0, exponent + 1)) {
    ++exponent;
  }
  // In units of the last place; a carry moves into the exponent by itself.
  const double units =
      std::nearbyint(std::ldexp(magnitude, mantissa - exponent));
  const double bits =
      units + static_cast<double>((exponent - first) * (1 << mantissa));
  return static_cast<uint8_t>(
      sign | static_cast<int>(std::min<double>(bits, largest)));
}

uint8_t Encode(DType dtype, double x) {
  if (dtype == DType::kF8E4M3) {
    return std::isfinite(x) ? ToFloat8(x, 3, -6, 0x7e) : 0x7f;
  }
  if (std::isinf(x)) return std::signbit(x) ? 0xfc : 0x7c;
  return std::isnan(x) ? 0x7f : ToFloat8(x, 2, -14, 0x7b);
}

// How far the numbers of a type reach.
double LargestOf(DType dtype) {
  return dtype == DType::kI8 ? 127 : dtype == DType::kF8E4M3 ? 448 : 57344;
}

// A row, or a group of kU4: `count` numbers.
struct Range {
  float low, high;
  bool finite;
};
Range RangeOf(const float* x, int64_t count) {
  Range range = {x[0], x[0], true};
  for (int64_t i = 0; i < count; ++i) {
    range.low = std::min(range.low, x[i]);
    range.high = std::max(range.high, x[i]);
    range.finite = range.finite && std::isfinite(x[i]);
  }
  return range;
}

void QuantizeWhole(const float* x, int64_t count, bool given, DType dtype,
                   float* scale, uint8_t* to) {
  double divisor = given ? static_cast<double>(*scale) : 0;
  if (!given) {
    const Range range = RangeOf(x, count);
    const float most = std::max(std::fabs(range.low), std::fabs(range.high));
    *scale =
        range.finite
            ? static_cast<float>(static_cast<double>(most) / LargestOf(dtype))
            : std::numeric_limits<float>::quiet_NaN();
    divisor = static_cast<double>(*scale);
    if (!(divisor > 0)) {
      for (int64_t i = 0; i < count; ++i) to[i] = 0;
      return;
    }
  } else if (!(divisor > 0 && std::isfinite(divisor))) {
    divisor = std::numeric_limits<double>::quiet_NaN();
  }
  for (int64_t i = 0; i < count; ++i) {
    const double q = static_cast<double>(x[i]) / divisor;
    if (dtype == DType::kI8) {
      const double whole = std::clamp(std::nearbyint(q), -127.0, 127.0);
      to[i] = static_cast<uint8_t>(static_cast<int8_t>(whole));
    } else {
      to[i] = Encode(dtype, q);
    }
  }
}

void QuantizeGroup(const float* x, int64_t count, float* scale, float* minimum,
                   uint8_t* to) {
  const Range range = RangeOf(x, count);
  const double low = static_cast<double>(range.low);
  *scale =
      range.finite
          ? static_cast<float>((static_cast<double>(range.high) - low) / 15)
          : std::numeric_limits<float>::quiet_NaN();
  *minimum = range.finite ? range.low : 0.0f;
  const double divisor = static_cast<double>(*scale);
  const auto encode = [&](int64_t i) {
    if (!(divisor > 0)) return 0;
    const double q = (static_cast<double>(x[i]) - low) / divisor;
    return static_cast<int>(std::clamp(std::nearbyint(q), 0.0, 15.0));
  };
  for (int64_t i = 0; i < count; i += 2) {
    to[i / 2] = static_cast<uint8_t>(encode(i) | encode(i + 1) << 4);
  }
}

}  // namespace

void QuantizeRow(const float* row, int64_t dim, const QuantizedRow& how,
                 float* scale, float* minimum, void* to) {
  auto* const out = static_cast<uint8_t*>(to);
  if (how.dtype != DType::kU4) {
    QuantizeWhole(row, dim, how.given_scale, how.dtype, scale, out);
    return;
  }
  const int64_t size = dim / how.groups;
  for (int64_t g = 0; g < how.groups; ++g) {
    QuantizeGroup(row + g * size, size, scale + g, minimum + g,
                  out + g * size / 2);
  }
}

}  // namespace heed::internal
