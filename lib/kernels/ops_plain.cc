// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The primitives of heed/ops.h in standard C++: for machines that no other
// table serves, with the same bits.
#include <cmath>
#include <cstdint>

#include "lib/kernels/kernels.h"
#include "lib/kernels/scalar_convert.h"
#include "lib/kernels/scalar_rotate.h"

namespace heed::internal {
namespace {

void MatMul(const ops::ConstMatrix& a, const ops::ConstMatrix& b,
            const ops::Matrix& c, bool add) {
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) {
      const float* x = a.row(i);
      const float* y = b.data + j * b.col_stride;
      float sum = add ? c.row(i)[j] : 0.0f;
      for (int64_t k = 0; k < a.cols; ++k) {
        sum = std::fma(x[k * a.col_stride], y[k * b.row_stride], sum);
      }
      c.row(i)[j] = sum;
    }
  }
}

float Dot(const float* a, const float* b, int64_t n) {
  float partial[kPartialSums] = {};
  for (int64_t i = 0; i < n; ++i) {
    float& sum = partial[i % kPartialSums];
    sum = std::fma(a[i], b[i], sum);
  }
  return AddPartialSums(partial);
}

void Axpy(float a, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::fma(a, x[i], y[i]);
}

void Scale(float a, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= a;
}

float ExpOf(float x) {
  if (x != x) return x;
  if (x < kExpZeroBelow) return 0.0f;
  if (x > kExpClamp) x = kExpClamp;
  const float n = std::nearbyint(x * kLog2E);
  float r = std::fma(-n, kLog2High, x);
  r = std::fma(-n, kLog2Low, r);
  float p = 0.0f;
  for (const float coefficient : kExpCoefficients) {
    p = std::fma(p, r, coefficient);
  }
  const int whole = static_cast<int>(n);
  const int half = whole >> 1;
  return p * std::ldexp(1.0f, half) * std::ldexp(1.0f, whole - half);
}

void Exp(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = ExpOf(x[i]);
}

float Largest(const float* x, int64_t n) {
  float max = -INFINITY;
  for (int64_t i = 0; i < n; ++i) max = max < x[i] ? x[i] : max;
  return max + 0.0f;
}

float Softmax(float* x, int64_t n) {
  const float max = Largest(x, n);
  bool nan = false;
  for (int64_t i = 0; i < n; ++i) nan = nan || x[i] != x[i];
  if (max == -INFINITY) {
    for (int64_t i = 0; i < n; ++i) x[i] = nan ? NAN : 0.0f;
    return nan ? NAN : -INFINITY;
  }
  float partial[kPartialSums] = {};
  for (int64_t i = 0; i < n; ++i) {
    x[i] = ExpOf(x[i] - max);
    partial[i % kPartialSums] += x[i];
  }
  const float sum = AddPartialSums(partial);
  for (int64_t i = 0; i < n; ++i) x[i] /= sum;
  return LogOfSum(max, sum);
}

template <class From>
void WidenAll(const void* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = scalar::Widen(static_cast<const From*>(from)[i]);
  }
}

void Widen(DType type, const void* from, int64_t n, float* to) {
  switch (type) {
    case DType::kF32:
      return WidenAll<float>(from, n, to);
    case DType::kBF16:
      return WidenAll<bf16>(from, n, to);
    case DType::kF16:
      return WidenAll<f16>(from, n, to);
    case DType::kI8:
      return WidenAll<int8_t>(from, n, to);
    case DType::kF8E4M3:
      return WidenAll<f8_e4m3>(from, n, to);
    case DType::kF8E5M2:
      return WidenAll<f8_e5m2>(from, n, to);
    default:
      return;  // means nothing without its scales
  }
}

void WidenScaled(const int8_t* from, int64_t n, float scale, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = scalar::Widen(from[i]) * scale;
}

template <class To>
void NarrowAll(const float* from, int64_t n, void* to) {
  for (int64_t i = 0; i < n; ++i) {
    scalar::Narrow(from[i], static_cast<To*>(to) + i);
  }
}

void Narrow(DType type, const float* from, int64_t n, void* to) {
  if (type == DType::kF32) NarrowAll<float>(from, n, to);
  if (type == DType::kBF16) NarrowAll<bf16>(from, n, to);
  if (type == DType::kF16) NarrowAll<f16>(from, n, to);
}

void Rotate(float* row, int64_t n) {
  scalar::RotateRow(row, static_cast<size_t>(n));
}

float WeightAt(DType type, const void* panel, int64_t i) {
  if (type == DType::kF32) return static_cast<const float*>(panel)[i];
  if (type == DType::kBF16) {
    return scalar::Widen(static_cast<const bf16*>(panel)[i]);
  }
  return scalar::Widen(static_cast<const f16*>(panel)[i]);
}

void MultiplyPanel(const ops::ConstMatrix& x, DType type, const void* panel,
                   const ops::Matrix& c, bool add) {
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t j = 0; j < c.cols; ++j) {
      float sum = add ? c.row(r)[j] : 0.0f;
      for (int64_t k = 0; k < x.cols; ++k) {
        sum = std::fma(x.row(r)[k],
                       WeightAt(type, panel, k * kPanelOutputs + j), sum);
      }
      c.row(r)[j] = sum;
    }
  }
}

}  // namespace

const OpsTable kPlainOpsTable = {
    /*same_bits=*/true,
    &MatMul,
    &Dot,
    &Axpy,
    &Scale,
    &Exp,
    &Largest,
    &Softmax,
    &Widen,
    &WidenScaled,
    &Narrow,
    &Rotate,
    &MultiplyPanel,
};

}  // namespace heed::internal
