// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The elements of a view as numbers, whatever their type. Conversions are by
// the bits of IEEE 754 and share nothing with the library's own.
#ifndef HEED_LIB_ORACLE_ELEMENT_H_
#define HEED_LIB_ORACLE_ELEMENT_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "heed/attention.h"
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

// 8-bit floats: sign, exponent and mantissa by their definition.
inline float Widen(f8_e4m3 x) {
  const int exponent = x.bits >> 3 & 15;
  const int mantissa = x.bits & 7;
  if (exponent == 15 && mantissa == 7) return NAN;
  const float magnitude =
      exponent == 0
          ? std::ldexp(static_cast<float>(mantissa), -9)
          : std::ldexp(8.0f + static_cast<float>(mantissa), exponent - 10);
  return x.bits >> 7 != 0 ? -magnitude : magnitude;
}

inline float Widen(f8_e5m2 x) {
  const int exponent = x.bits >> 2 & 31;
  const int mantissa = x.bits & 3;
  if (exponent == 31 && mantissa != 0) return NAN;
  const float magnitude =
      exponent == 31 ? INFINITY
      : exponent == 0
          ? std::ldexp(static_cast<float>(mantissa), -16)
          : std::ldexp(4.0f + static_cast<float>(mantissa), exponent - 17);
  return x.bits >> 7 != 0 ? -magnitude : magnitude;
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

// Returns where an element of a checked view stands (of a packed one the byte
// that it is in); b, s, h and c count batches, positions, heads and channels.
template <typename Void>
auto AddressOf(const BasicTensorView<Void>& view, int64_t b, int64_t s,
               int64_t h, int64_t c) {
  using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
  const int64_t unit = view.dtype == DType::kU4 ? c / 2 : c;
  return static_cast<Byte*>(view.data) + b * view.stride[0] +
         s * view.stride[1] + h * view.stride[2] + unit * view.stride[3];
}

// Returns an element of a view, exactly, as it is stored.
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
    case DType::kI8:
      return load(int8_t{});
    case DType::kF8E4M3:
      return Widen(load(f8_e4m3{}));
    case DType::kF8E5M2:
      return Widen(load(f8_e5m2{}));
    case DType::kU4:
      return load(uint8_t{}) >> (c % 2 == 0 ? 0 : 4) & 15;
    default:
      return NAN;
  }
}

// A tensor that may be quantised, with what its elements are multiplied by and
// what is added: absent ones are 1 and nothing.
struct ScaledTensor {
  ConstTensorView view, scale, minimum;
};

inline ScaledTensor KeyOf(const AttentionArgs& args) {
  return {args.key, args.kv_scales.key_scale, args.kv_scales.key_minimum};
}
inline ScaledTensor ValueOf(const AttentionArgs& args) {
  return {args.value, args.kv_scales.value_scale, args.kv_scales.value_minimum};
}

// Returns an element as the number that it means, an f32 (heed/kv.h).
inline double ElementAt(const ScaledTensor& tensor, int64_t b, int64_t s,
                        int64_t h, int64_t c) {
  const double stored = ElementAt(tensor.view, b, s, h, c);
  if (tensor.scale.absent()) return stored;
  const auto group = [&](const ConstTensorView& of) {
    const int64_t size = tensor.view.head_dim() / of.head_dim();
    return static_cast<float>(ElementAt(of, b, s, h, c / size));
  };
  const float q = static_cast<float>(stored);
  const float scale = group(tensor.scale);
  if (tensor.minimum.absent()) return q * scale;
  return std::fma(q, scale, group(tensor.minimum));
}

// Reads the head_dim elements of a row; T is float or double, exact in both.
template <typename T>
void ReadRow(const ConstTensorView& view, int64_t b, int64_t s, int64_t h,
             T* row) {
  if (view.dtype != DType::kF32) {
    for (int64_t c = 0; c < view.head_dim(); ++c) {
      row[c] = static_cast<T>(ElementAt(view, b, s, h, c));
    }
    return;
  }
  // Half of what tests take would be finding each element anew.
  const char* at = AddressOf(view, b, s, h, 0);
  for (int64_t c = 0; c < view.head_dim(); ++c) {
    float element;
    std::memcpy(&element, at + c * view.stride[3], sizeof(element));
    row[c] = element;
  }
}
template <typename T>
void ReadRow(const ScaledTensor& tensor, int64_t b, int64_t s, int64_t h,
             T* row) {
  if (tensor.scale.absent()) return ReadRow(tensor.view, b, s, h, row);
  for (int64_t c = 0; c < tensor.view.head_dim(); ++c) {
    row[c] = static_cast<T>(ElementAt(tensor, b, s, h, c));
  }
}

// Rotates a row in place (heed/kv.h): sums and differences of neighbours first,
// then of ever farther elements of a block, and the factor last.
template <typename T>
void Rotate(T* row, int64_t dim) {
  if (dim == 0) return;
  const int64_t block = dim & -dim;
  for (int64_t half = 1; half < block; half *= 2) {
    for (int64_t i = 0; i < dim; ++i) {
      if (i / half % 2 != 0) continue;
      const T sum = row[i] + row[i + half];
      const T difference = row[i] - row[i + half];
      row[i] = sum;
      row[i + half] = difference;
    }
  }
  const T factor = static_cast<T>(1.0 / std::sqrt(static_cast<double>(block)));
  for (int64_t i = 0; i < dim; ++i) row[i] *= factor;
}

// Reads a row of the query as it meets the keys: rotated where they are.
template <typename T>
void ReadQuery(const AttentionArgs& args, int64_t b, int64_t s, int64_t h,
               T* row) {
  ReadRow(args.query, b, s, h, row);
  if (args.kv_scales.key_rotated) Rotate(row, args.query.head_dim());
}

// Turns a finished row of out back where the values are rotated.
template <typename T>
void RotateBack(const AttentionArgs& args, T* row) {
  if (args.kv_scales.value_rotated) Rotate(row, args.value.head_dim());
}

// Returns the bits of the 8-bit float nearest to `value`, the even one of two,
// and of the largest finite one beyond it; NaN for NaN. The smallest normal
// number is 2^first, and `mantissa` bits follow the exponent's.
inline uint8_t RoundToFloat8(float value, int mantissa, int first,
                             uint8_t largest, uint8_t nan) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) return sign | nan;
  const float magnitude = std::fabs(value);
  if (std::isinf(value)) return sign | largest;
  const int exponent =
      magnitude == 0.0f ? first : std::max(std::ilogb(magnitude), first);
  // In units of the last place; a carry moves into the exponent by itself.
  const float units =
      std::nearbyint(std::ldexp(magnitude, mantissa - exponent));
  const int bits =
      (exponent - first) * (1 << mantissa) + static_cast<int>(units);
  return sign | static_cast<uint8_t>(std::min(bits, int{largest}));
}
inline f8_e4m3 RoundToE4M3(float value) {
  return {RoundToFloat8(value, 3, -6, 0x7e, 0x7f)};
}
inline f8_e5m2 RoundToE5M2(float value) {
  return {RoundToFloat8(value, 2, -14, 0x7b, 0x7f)};
}

// Writes an element of a view, rounded to its type; of types without infinity
// that do not reach so far, and of e5m2, the number nearest to it. NaN does not
// become a whole number: that is 0.
inline void StoreElement(const TensorView& view, int64_t b, int64_t s,
                         int64_t h, int64_t c, float value) {
  char* at = AddressOf(view, b, s, h, c);
  const auto store = [at](auto element) {
    std::memcpy(at, &element, sizeof(element));
  };
  const auto whole = [value](float low, float high) {
    return std::isnan(value) ? 0.0f
                             : std::nearbyint(std::clamp(value, low, high));
  };
  switch (view.dtype) {
    case DType::kF32:
      return store(value);
    case DType::kBF16:
      return store(RoundToBF16(value));
    case DType::kF16:
      return store(RoundToF16(value));
    case DType::kI8:
      return store(static_cast<int8_t>(whole(-128.0f, 127.0f)));
    case DType::kF8E4M3:
      return store(RoundToE4M3(value));
    case DType::kF8E5M2:
      return store(RoundToE5M2(value));
    case DType::kU4: {
      const int shift = c % 2 == 0 ? 0 : 4;
      uint8_t pair;
      std::memcpy(&pair, at, 1);
      pair =
          static_cast<uint8_t>((pair & ~(15 << shift)) |
                               static_cast<int>(whole(0.0f, 15.0f)) << shift);
      return store(pair);
    }
    default:
      return;
  }
}

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_ELEMENT_H_
