// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The elements of a view as numbers, whatever their type. Conversions are by
// the bits of IEEE 754 and share nothing with the library's own.
#ifndef HEED_LIB_ORACLE_ELEMENT_H_
#define HEED_LIB_ORACLE_ELEMENT_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "heed/tensor.h"
#include "heed/types.h"

namespace heed::oracle {

// Returns the value, which every f32 holds exactly; NaN for NaN.
inline float Widen(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

inline float Widen(f16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa times 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t exponent32 = exponent == 0x1fu ? 0xffu : exponent + 112;
  return std::bit_cast<float>(sign | (exponent32 << 23) | (mantissa << 13));
}

// Return the nearest value of the type, the even one of two; infinity from half
// a unit above the largest finite value; NaN (quiet) for NaN.
inline bf16 RoundToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return {static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

inline f16 RoundToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (std::isnan(value)) {
    magnitude = 0x7e00u | (magnitude >> 13 & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520
    magnitude = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // 2^-14: subnormal
    // In [1/2, 1) an f32 counts in units of 2^-24, as a subnormal f16 does.
    const float sum = std::fabs(value) + 0.5f;
    magnitude = std::bit_cast<uint32_t>(sum) - 0x3f000000u;
  } else {
    magnitude += 0xfffu + (magnitude >> 13 & 1u);
    magnitude = (magnitude >> 13) - (112u << 10);
  }
  return {static_cast<uint16_t>(sign | magnitude)};
}

// Returns the value nearest to `value` that a tensor of this type holds.
inline float RoundTo(DType dtype, float value) {
  if (dtype == DType::kBF16) return Widen(RoundToBF16(value));
  if (dtype == DType::kF16) return Widen(RoundToF16(value));
  return value;
}

// Returns where an element of a checked view stands; b, s, h and c count
// batches, positions, heads and channels.
template <typename Void>
auto AddressOf(const BasicTensorView<Void>& view, int64_t b, int64_t s,
               int64_t h, int64_t c) {
  using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
  return static_cast<Byte*>(view.data) + b * view.stride[0] +
         s * view.stride[1] + h * view.stride[2] + c * SizeOf(view.dtype);
}

// Returns an element of an f32, bf16 or f16 view, exactly; NaN of any other,
// whose elements mean nothing by themselves.
inline double ElementAt(const ConstTensorView& view, int64_t b, int64_t s,
                        int64_t h, int64_t c) {
  const char* at = AddressOf(view, b, s, h, c);
  const auto load = [at](auto element) {
    std::memcpy(&element, at, sizeof(element));
    return element;
  };
  switch (view.dtype) {
    case DType::kF32:
      return load(float{});
    case DType::kBF16:
      return Widen(load(bf16{}));
    case DType::kF16:
      return Widen(load(f16{}));
    default:
      return NAN;
  }
}

// Reads the head_dim elements of a row; T is float or double, exact in both.
template <typename T>
void ReadRow(const ConstTensorView& view, int64_t b, int64_t s, int64_t h,
             T* row) {
  for (int64_t c = 0; c < view.head_dim(); ++c) {
    row[c] = static_cast<T>(ElementAt(view, b, s, h, c));
  }
}

// Writes an element of an f32, bf16 or f16 view, rounded to its type.
inline void StoreElement(const TensorView& view, int64_t b, int64_t s,
                         int64_t h, int64_t c, float value) {
  char* at = AddressOf(view, b, s, h, c);
  const auto store = [at](auto element) {
    std::memcpy(at, &element, sizeof(element));
  };
  if (view.dtype == DType::kF32) store(value);
  if (view.dtype == DType::kBF16) store(RoundToBF16(value));
  if (view.dtype == DType::kF16) store(RoundToF16(value));
}

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_ELEMENT_H_
