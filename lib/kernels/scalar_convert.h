// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// convert-inl.h one number at a time: the conversions of heed/types.h by one
// name for every type. No templates, as code of every target calls them.
#ifndef HEED_LIB_KERNELS_SCALAR_CONVERT_H_
#define HEED_LIB_KERNELS_SCALAR_CONVERT_H_

#include <cstdint>

#include "heed/types.h"

namespace heed::internal::scalar {

inline float Widen(float x) { return x; }
inline float Widen(bf16 x) { return ToFloat(x); }
inline float Widen(f16 x) { return ToFloat(x); }
inline float Widen(int8_t x) { return x; }
inline float Widen(f8_e4m3 x) { return ToFloat(x); }
inline float Widen(f8_e5m2 x) { return ToFloat(x); }

inline void Narrow(float x, float* to) { *to = x; }
inline void Narrow(float x, bf16* to) { *to = ToBF16(x); }
inline void Narrow(float x, f16* to) { *to = ToF16(x); }

}  // namespace heed::internal::scalar

#endif  // HEED_LIB_KERNELS_SCALAR_CONVERT_H_
