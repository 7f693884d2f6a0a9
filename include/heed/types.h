// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Element types, their storage and their conversions.
#ifndef HEED_TYPES_H_
#define HEED_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace heed {

// Storage of a bfloat16 (upper half of an IEEE binary32). No arithmetic.
struct bf16 {
  uint16_t bits;
};

// Storage of an IEEE binary16. No arithmetic.
struct f16 {
  uint16_t bits;
};

// Storage of the 8-bit floats of the Open Compute Project. E4M3 has no
// infinities, one NaN of either sign, and ends at 448; E5M2 is the upper half
// of an f16. No arithmetic.
struct f8_e4m3 {
  uint8_t bits;
};
struct f8_e5m2 {
  uint8_t bits;
};

// Storage of two unsigned 4-bit numbers, 0 to 15: of two neighbours along
// head_dim the even one stands in the low half. No arithmetic.
struct u4x2 {
  uint8_t bits;
};

// The element type of a tensor. Attention takes kF32, kBF16 and kF16
// everywhere, for key and value also the quantised ones (heed/kv.h). The last
// three are for what says which keys a row sees (heed/score_inputs.h).
enum class DType : int32_t {
  kF32 = 0,
  kBF16 = 1,
  kF16 = 2,
  kI8 = 3,
  kF8E4M3 = 4,
  kF8E5M2 = 5,
  kU4 = 6,  // packed, two a byte: u4x2
  kBool = 7,
  kI32 = 8,
  kU64 = 9,
};

// Returns the bytes of one element (of kU4, which packs them, those of two), or
// 0 for a value outside the enum. Strides and addresses are multiples of it.
constexpr int64_t SizeOf(DType dtype) {
  return dtype == DType::kF32      ? 4
         : dtype == DType::kBF16   ? 2
         : dtype == DType::kF16    ? 2
         : dtype == DType::kI8     ? 1
         : dtype == DType::kF8E4M3 ? 1
         : dtype == DType::kF8E5M2 ? 1
         : dtype == DType::kU4     ? 1
         : dtype == DType::kBool   ? 1
         : dtype == DType::kI32    ? 4
         : dtype == DType::kU64    ? 8
                                   : 0;
}

// Returns the bytes of `count` neighbouring elements.
constexpr int64_t BytesOf(DType dtype, int64_t count) {
  return dtype == DType::kU4 ? count / 2 + count % 2 : count * SizeOf(dtype);
}

// Returns "f32", "bf16", "f16", "i8", "f8_e4m3", "f8_e5m2", "u4", "bool",
// "i32" or "u64", or "unknown".
constexpr const char* NameOf(DType dtype) {
  return dtype == DType::kF32      ? "f32"
         : dtype == DType::kBF16   ? "bf16"
         : dtype == DType::kF16    ? "f16"
         : dtype == DType::kI8     ? "i8"
         : dtype == DType::kF8E4M3 ? "f8_e4m3"
         : dtype == DType::kF8E5M2 ? "f8_e5m2"
         : dtype == DType::kU4     ? "u4"
         : dtype == DType::kBool   ? "bool"
         : dtype == DType::kI32    ? "i32"
         : dtype == DType::kU64    ? "u64"
                                   : "unknown";
}

// DTypeOf<float>::value and so on: the DType that a pointer's type picks.
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};
template <>
struct DTypeOf<f8_e4m3> {
  static constexpr DType value = DType::kF8E4M3;
};
template <>
struct DTypeOf<f8_e5m2> {
  static constexpr DType value = DType::kF8E5M2;
};
template <>
struct DTypeOf<u4x2> {
  static constexpr DType value = DType::kU4;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::kBool;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<uint64_t> {
  static constexpr DType value = DType::kU64;
};

// ---- Conversions ------------------------------------------------------------
//
// Not by the CPU's instructions: the same bits everywhere, subnormals right
// even where the caller flushes those of float.

namespace internal {

inline uint32_t BitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

inline float FloatOf(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace internal

// Returns the float that equals `x`. A NaN keeps its bits.
inline float ToFloat(bf16 x) {
  return internal::FloatOf(static_cast<uint32_t>(x.bits) << 16);
}

// Returns the float that equals `x`. A NaN keeps its sign and payload and comes
// out quiet.
inline float ToFloat(f16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  uint32_t bits = (magnitude << 13) + (112u << 23);
  if (magnitude < 0x400u) {
    // The product is zero or a normal float, so nothing is flushed.
    bits = internal::BitsOf(static_cast<float>(magnitude) * 0x1p-24f);
  } else if (magnitude >= 0x7c00u) {
    bits += 112u << 23;
    if (magnitude > 0x7c00u) bits |= 0x400000u;
  }
  return internal::FloatOf(sign | bits);
}

// Returns the float that equals `x`. NaN for NaN.
inline float ToFloat(f8_e5m2 x) {
  return ToFloat(f16{static_cast<uint16_t>(x.bits << 8)});
}

// Returns the float that equals `x`. NaN for NaN.
inline float ToFloat(f8_e4m3 x) {
  const uint32_t magnitude = x.bits & 0x7fu;
  uint32_t bits = (x.bits & 0x80u) << 8 | magnitude << 7;
  if (magnitude == 0x7fu) bits |= 0x7c00u;
  // Read as an f16 whose exponent is counted from elsewhere.
  return ToFloat(f16{static_cast<uint16_t>(bits)}) * 256.0f;
}

// Returns the bf16 nearest to `x`, of two equally near ones the even one.
// Beyond the largest finite bf16 that may be infinity. A NaN keeps its sign and
// upper payload and comes out quiet.
inline bf16 ToBF16(float x) {
  const uint32_t bits = internal::BitsOf(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return bf16{static_cast<uint16_t>(bits >> 16 | 0x40u)};
  }
  return bf16{static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

// Returns the f16 nearest to `x`, of two equally near ones the even one:
// infinity from 65520 on, a subnormal or zero below 2^-14. A NaN keeps its sign
// and upper payload and comes out quiet.
inline f16 ToF16(float x) {
  const uint32_t sign = internal::BitsOf(x) >> 16 & 0x8000u;
  const uint32_t magnitude = internal::BitsOf(x) & 0x7fffffffu;
  uint32_t bits = 0;
  if (magnitude > 0x7f800000u) {
    bits = 0x7e00u | (magnitude >> 13 & 0x3ffu);
  } else if (magnitude >= 143u << 23) {  // 2^16
    bits = 0x7c00u;
  } else if (magnitude >= 113u << 23) {  // 2^-14
    const uint32_t moved = magnitude - (112u << 23);
    bits = (moved + 0xfffu + (moved >> 13 & 1)) >> 13;
  } else if (magnitude >= 102u << 23) {  // 2^-25
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t whole = (magnitude & 0x7fffffu) | 0x800000u;
    bits = (whole + (1u << (shift - 1)) - 1 + (whole >> shift & 1)) >> shift;
  }
  return f16{static_cast<uint16_t>(sign | bits)};
}

}  // namespace heed

#endif  // HEED_TYPES_H_
