// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Element types and their storage.
#ifndef HEED_TYPES_H_
#define HEED_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace heed {

// Storage of a bfloat16 (upper half of an IEEE binary32). No arithmetic.
struct bf16 {
  uint16_t bits;
};

// Storage of an IEEE binary16. No arithmetic.
struct f16 {
  uint16_t bits;
};

// The element type of a tensor. The attention kernels of this version take
// kF32; the others describe files and are refused by MakePlan (kUnsupported).
enum class DType : int32_t { kF32 = 0, kBF16 = 1, kF16 = 2, kI8 = 3 };

// Returns the bytes of one element, or 0 for a value outside the enum.
constexpr int64_t SizeOf(DType dtype) {
  return dtype == DType::kF32    ? 4
         : dtype == DType::kBF16 ? 2
         : dtype == DType::kF16  ? 2
         : dtype == DType::kI8   ? 1
                                 : 0;
}

// Returns "f32", "bf16", "f16" or "i8", or "unknown".
constexpr const char* NameOf(DType dtype) {
  return dtype == DType::kF32    ? "f32"
         : dtype == DType::kBF16 ? "bf16"
         : dtype == DType::kF16  ? "f16"
         : dtype == DType::kI8   ? "i8"
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

}  // namespace heed

#endif  // HEED_TYPES_H_
