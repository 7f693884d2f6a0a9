// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The table behind heed/ops.h: the primitives that are compiled once per
// target. Contracts stand there.
#ifndef HEED_LIB_KERNELS_OPS_TABLE_H_
#define HEED_LIB_KERNELS_OPS_TABLE_H_

#include <cstdint>

#include "heed/ops.h"
#include "lib/kernels/coefficients.h"
#include "lib/kernels/scalar_math.h"

namespace heed::internal {

// Outputs of a panel of packed weights (heed/layers.h): whole tiles of the
// matrix product on every target.
inline constexpr int64_t kPanelOutputs = 48;

// The most rows that multiply_panel takes.
inline constexpr int64_t kFewRows = 4;

struct OpsTable {
  bool same_bits;  // has FMA
  // c = a b, or c += a b.
  void (*matmul)(const ops::ConstMatrix& a, const ops::ConstMatrix& b,
                 const ops::Matrix& c, bool add);
  float (*dot)(const float* a, const float* b, int64_t n);
  void (*axpy)(float a, const float* x, float* y, int64_t n);
  void (*scale)(float a, float* x, int64_t n);
  void (*exp)(const float* x, float* y, int64_t n);
  float (*largest)(const float* x, int64_t n);
  float (*softmax)(float* x, int64_t n);
  // Not of heed/ops.h: rows of n elements, by the conversions of heed/types.h,
  // bit for bit. They touch nothing beyond; a type that they do not take is not
  // read and nothing is written. kI8 is whole numbers, or times a scale.
  void (*widen)(DType type, const void* from, int64_t n, float* to);
  void (*widen_scaled)(const int8_t* from, int64_t n, float scale, float* to);
  // To kF32, kBF16 or kF16.
  void (*narrow)(DType type, const float* from, int64_t n, void* to);
  // The Hadamard rotation of heed/kv.h, in place. The same bits on all tables.
  void (*rotate)(float* row, int64_t n);
  // c = x panel, or c += x panel, for 1 to kFewRows rows, an FMA chain an
  // element over the columns of x, as matmul. The panel is x.cols rows of
  // kPanelOutputs elements (f32, bf16 or f16), all of which are read; c has as
  // many columns, or fewer.
  void (*multiply_panel)(const ops::ConstMatrix& x, DType type,
                         const void* panel, const ops::Matrix& c, bool add);
};

// Partial sums of a reduction: a constant of the result, so that the number of
// lanes leaves no trace.
inline constexpr int kPartialSums = 16;

// Adds them as a tree.
inline float AddPartialSums(const float* partial) {
  float sum[kPartialSums];
  for (int i = 0; i < kPartialSums; ++i) sum[i] = partial[i];
  for (int half = kPartialSums / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
  }
  return sum[0];
}

// exp as every table computes it: x = n log 2 + r, 2^n times a polynomial in r.
// log 2 is in two parts; 2^n in two factors, as it may be 2^128. Measured over
// the whole range: 0.88 units in the last place.
inline constexpr float kExpZeroBelow = -87.3365479f;
inline constexpr float kExpClamp = 89.0f;  // already infinite
inline constexpr float kLog2High = 0x1.62e4p-1f;
inline constexpr float kLog2Low = 0x1.7f7d1cp-20f;
inline constexpr float kExpCoefficients[] = {0x1.6a2434p-10f,
                                             0x1.1239e2p-7f,
                                             0x1.5558f2p-5f,
                                             0x1.555492p-3f,
                                             0x1.fffffcp-2f,
                                             1.0f,
                                             1.0f};

// Not by libm, whose last bit differs from one to the next.
inline float LogOfSum(float max, float sum) {
  return max + scalar::LogSum(0.0f, sum);
}

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_OPS_TABLE_H_
