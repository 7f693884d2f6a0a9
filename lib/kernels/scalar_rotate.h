// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// hadamard-inl.h one number at a time: the same bits. No templates, as code of
// every target calls these.
#ifndef HEED_LIB_KERNELS_SCALAR_ROTATE_H_
#define HEED_LIB_KERNELS_SCALAR_ROTATE_H_

#include <cmath>
#include <cstddef>

namespace heed::internal::scalar {

// The largest power of two that divides n: a row is rotated in blocks of it.
inline size_t RotatedBlock(size_t n) { return n & (~n + 1); }

inline float RotationFactor(size_t block) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
}

inline void RotateRow(float* row, size_t n) {
  if (n == 0) return;
  const size_t block = RotatedBlock(n);
  for (size_t half = 1; half < block; half *= 2) {
    for (size_t i = 0; i < n; ++i) {
      if ((i & half) != 0) continue;
      const float a = row[i];
      const float b = row[i + half];
      row[i] = a + b;
      row[i + half] = a - b;
    }
  }
  const float factor = RotationFactor(block);
  for (size_t i = 0; i < n; ++i) row[i] *= factor;
}

}  // namespace heed::internal::scalar

#endif  // HEED_LIB_KERNELS_SCALAR_ROTATE_H_
