// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Quantises rows of keys or values: portable, in double, so that every machine
// writes the same cache.
#include "lib/core/quantize_row.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace heed::internal {
namespace {

// The whole number nearest to x, the even one of two, for |x| up to 2^51: in
// two additions, which become vectors, where a call would not.
double Nearest(double x) {
  constexpr double kShift = 0x1.8p52;
  return (x + kShift) - kShift;
}

// The f8 nearest to x, the even one of two; the largest finite one beyond it.
// `mantissa` bits, exponents from `first` on.
uint8_t ToFloat8(double x, int mantissa, int first, int largest) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  // No f8 has an exponent of 16, nor is more than 2^16 any closer.
  const double magnitude = std::min(std::fabs(x), 0x1p16);
  const int exponent = std::max(
      static_cast<int>(std::bit_cast<uint64_t>(magnitude) >> 52) - 1023, first);
  // In units of the last place, by a power of two; a carry moves into the
  // exponent by itself.
  const double scale = std::bit_cast<double>(
      static_cast<uint64_t>(1023 + mantissa - exponent) << 52);
  const double bits = Nearest(magnitude * scale) +
                      static_cast<double>((exponent - first) * (1 << mantissa));
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

// The i8 nearest to q, which is within the type but for a rounding of the
// scale.
int32_t Whole(double q) {
  return static_cast<int32_t>(std::min(std::max(Nearest(q), -127.0), 127.0));
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
  constexpr int kLanes = 8;  // chains of their own
  float low[kLanes], high[kLanes];
  uint32_t nonfinite[kLanes] = {};
  std::fill_n(low, kLanes, x[0]);
  std::fill_n(high, kLanes, x[0]);
  const auto add = [&](int lane, float at) {
    low[lane] = at < low[lane] ? at : low[lane];
    high[lane] = high[lane] < at ? at : high[lane];
    constexpr uint32_t kExponent = 0x7f800000u;
    nonfinite[lane] |= (BitsOf(at) & kExponent) == kExponent ? 1 : 0;
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) add(lane, x[i + lane]);
  }
  for (; i < count; ++i) add(0, x[i]);
  uint32_t any = 0;
  for (const uint32_t lane : nonfinite) any |= lane;
  return {*std::min_element(low, low + kLanes),
          *std::max_element(high, high + kLanes), any == 0};
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
  if (dtype == DType::kI8) {
    // In chunks of one length, which become vectors.
    constexpr int64_t kChunk = 32;
    int64_t i = 0;
    for (; i + kChunk <= count; i += kChunk) {
      int32_t whole[kChunk];
      for (int64_t j = 0; j < kChunk; ++j) {
        whole[j] = Whole(static_cast<double>(x[i + j]) / divisor);
      }
      for (int64_t j = 0; j < kChunk; ++j) {
        to[i + j] = static_cast<uint8_t>(whole[j]);
      }
    }
    for (; i < count; ++i) {
      to[i] = static_cast<uint8_t>(Whole(static_cast<double>(x[i]) / divisor));
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    to[i] = Encode(dtype, static_cast<double>(x[i]) / divisor);
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
    return static_cast<int>(std::clamp(Nearest(q), 0.0, 15.0));
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
