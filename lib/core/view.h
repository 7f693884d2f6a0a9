// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rows of checked f32 views.
#ifndef HEED_LIB_CORE_VIEW_H_
#define HEED_LIB_CORE_VIEW_H_

#include <cstdint>

#include "heed/tensor.h"

namespace heed::internal {

inline const float* RowAt(const ConstTensorView& view, int64_t batch,
                          int64_t position, int64_t head) {
  return reinterpret_cast<const float*>(
      static_cast<const char*>(view.data) + batch * view.stride[0] +
      position * view.stride[1] + head * view.stride[2]);
}

inline float* RowAt(const TensorView& view, int64_t batch, int64_t position,
                    int64_t head) {
  return reinterpret_cast<float*>(
      static_cast<char*>(view.data) + batch * view.stride[0] +
      position * view.stride[1] + head * view.stride[2]);
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_VIEW_H_
