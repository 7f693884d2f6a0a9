// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: makers of views, element types and their conversions.
#include <cstdint>

#include "heed/heed_c.h"
#include "heed/tensor.h"
#include "heed/types.h"
#include "lib/c/structs.h"

namespace heed {
namespace {

static_assert(HEED_F32 == static_cast<int>(DType::kF32));
static_assert(HEED_BF16 == static_cast<int>(DType::kBF16));
static_assert(HEED_F16 == static_cast<int>(DType::kF16));
static_assert(HEED_I8 == static_cast<int>(DType::kI8));
static_assert(HEED_F8_E4M3 == static_cast<int>(DType::kF8E4M3));
static_assert(HEED_F8_E5M2 == static_cast<int>(DType::kF8E5M2));
static_assert(HEED_U4 == static_cast<int>(DType::kU4));
static_assert(HEED_BOOL == static_cast<int>(DType::kBool));
static_assert(HEED_I32 == static_cast<int>(DType::kI32));
static_assert(HEED_U64 == static_cast<int>(DType::kU64));

// Returns make(data), data a pointer to elements of the dtype. Of an unknown
// one only the extents are right: no call takes such a view.
template <typename Make>
heed_tensor ViewOfC(const void* data, int32_t dtype, const Make& make) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
      return internal::TensorOfC(make(static_cast<const float*>(data)));
    case DType::kBF16:
      return internal::TensorOfC(make(static_cast<const bf16*>(data)));
    case DType::kF16:
      return internal::TensorOfC(make(static_cast<const f16*>(data)));
    case DType::kI8:
      return internal::TensorOfC(make(static_cast<const int8_t*>(data)));
    case DType::kF8E4M3:
      return internal::TensorOfC(make(static_cast<const f8_e4m3*>(data)));
    case DType::kF8E5M2:
      return internal::TensorOfC(make(static_cast<const f8_e5m2*>(data)));
    case DType::kU4:
      return internal::TensorOfC(make(static_cast<const u4x2*>(data)));
    case DType::kBool:
      return internal::TensorOfC(make(static_cast<const bool*>(data)));
    case DType::kI32:
      return internal::TensorOfC(make(static_cast<const int32_t*>(data)));
    case DType::kU64:
      return internal::TensorOfC(make(static_cast<const uint64_t*>(data)));
  }
  heed_tensor to = internal::TensorOfC(make(static_cast<const int8_t*>(data)));
  to.dtype = dtype;
  return to;
}

}  // namespace
}  // namespace heed

heed_tensor heed_bshd(const void* data, int32_t dtype, int64_t batch,
                      int64_t seqlen, int64_t heads, int64_t head_dim) {
  return heed::ViewOfC(data, dtype, [=](auto* elements) {
    return heed::Bshd(elements, batch, seqlen, heads, head_dim);
  });
}

heed_tensor heed_bhsd(const void* data, int32_t dtype, int64_t batch,
                      int64_t heads, int64_t seqlen, int64_t head_dim) {
  return heed::ViewOfC(data, dtype, [=](auto* elements) {
    return heed::Bhsd(elements, batch, heads, seqlen, head_dim);
  });
}

heed_tensor heed_thd(const void* data, int32_t dtype, int64_t tokens,
                     int64_t heads, int64_t head_dim) {
  return heed_bshd(data, dtype, 1, tokens, heads, head_dim);
}

heed_tensor heed_bhs(const void* data, int32_t dtype, int64_t batch,
                     int64_t heads, int64_t seqlen) {
  return heed_bhsd(data, dtype, batch, heads, seqlen, 1);
}

heed_tensor heed_tokens_of(heed_tensor view, int64_t first, int64_t count) {
  if (view.data == nullptr) return view;
  // By integers: of a first or a stride that is absurd comes a pointer that is
  // wrong, but nothing undefined.
  view.data = reinterpret_cast<void*>(
      reinterpret_cast<uintptr_t>(view.data) +
      static_cast<uintptr_t>(heed::internal::WrapMul(first, view.stride[1])));
  view.extent[1] = count;
  return view;
}

int64_t heed_bytes_of(int32_t dtype, int64_t count) {
  const heed::DType type = static_cast<heed::DType>(dtype);
  return type == heed::DType::kU4
             ? heed::BytesOf(type, count)
             : heed::internal::WrapMul(count, heed::SizeOf(type));
}

const char* heed_dtype_name(int32_t dtype) {
  return heed::NameOf(static_cast<heed::DType>(dtype));
}

uint16_t heed_float_to_bf16(float x) { return heed::ToBF16(x).bits; }
uint16_t heed_float_to_f16(float x) { return heed::ToF16(x).bits; }
float heed_bf16_to_float(uint16_t bits) {
  return heed::ToFloat(heed::bf16{bits});
}
float heed_f16_to_float(uint16_t bits) {
  return heed::ToFloat(heed::f16{bits});
}
float heed_f8_e4m3_to_float(uint8_t bits) {
  return heed::ToFloat(heed::f8_e4m3{bits});
}
float heed_f8_e5m2_to_float(uint8_t bits) {
  return heed::ToFloat(heed::f8_e5m2{bits});
}
