// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The public face of the tile primitives: forwards to the table of this CPU.
#include "heed/ops.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lib/core/ops_target.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace internal {

namespace {

const OpsTable*& TablePointer() {
  static const OpsTable* table = &KernelsOf(BestTarget())->ops;
  return table;
}

const OpsTable& Table() { return *TablePointer(); }

}  // namespace

bool SetOpsTarget(const char* target) {
  const Kernels* const kernels =
      target == nullptr ? KernelsOf(BestTarget()) : FindKernels(target);
  if (kernels == nullptr) return false;
  TablePointer() = &kernels->ops;
  return true;
}

}  // namespace internal

namespace ops {

void MatMul(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c) {
  internal::Table().matmul(a, b, c, false);
}

void MatMulAdd(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c) {
  internal::Table().matmul(a, b, c, true);
}

float Dot(const float* a, const float* b, int64_t n) {
  return internal::Table().dot(a, b, n);
}

void Axpy(float a, const float* x, float* y, int64_t n) {
  internal::Table().axpy(a, x, y, n);
}

void Scale(float a, float* x, int64_t n) { internal::Table().scale(a, x, n); }

void Exp(const float* x, float* y, int64_t n) {
  internal::Table().exp(x, y, n);
}

float Largest(const float* x, int64_t n) {
  return internal::Table().largest(x, n);
}

float Softmax(float* x, int64_t n) { return internal::Table().softmax(x, n); }

bool AllFinite(const float* x, int64_t n) {
  // x - x is 0 where x is finite and NaN elsewhere; eight sums, so that the
  // compiler keeps them in a vector.
  float sum[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) sum[j] += x[i + j] - x[i + j];
  }
  for (; i < n; ++i) sum[0] += x[i] - x[i];
  for (int j = 1; j < 8; ++j) sum[0] += sum[j];
  return sum[0] == 0.0f;
}

void MeanPool(const ConstMatrix& x, int64_t block, const Matrix& out) {
  for (int64_t i = 0; i * block < x.rows; ++i) {
    const int64_t begin = i * block;
    const int64_t end = std::min(begin + block, x.rows);
    float* mean = out.row(i);
    std::fill(mean, mean + x.cols, 0.0f);
    for (int64_t r = begin; r < end; ++r) {
      if (x.col_stride == 1) {
        Axpy(1.0f, x.row(r), mean, x.cols);
      } else {
        for (int64_t c = 0; c < x.cols; ++c) {
          mean[c] += x.row(r)[c * x.col_stride];
        }
      }
    }
    const float count = static_cast<float>(end - begin);
    for (int64_t c = 0; c < x.cols; ++c) mean[c] /= count;
  }
}

int64_t TopK(const float* score, int64_t n, int64_t k, int32_t* index) {
  k = std::clamp<int64_t>(k, 0, n);
  for (int64_t i = 0; i < n; ++i) index[i] = static_cast<int32_t>(i);
  // A total order, so that the set does not depend on the algorithm.
  const auto before = [score](int32_t a, int32_t b) {
    const float x = score[a];
    const float y = score[b];
    if (x > y) return true;
    if (x < y) return false;
    const bool x_nan = x != x;
    const bool y_nan = y != y;
    return x_nan != y_nan ? y_nan : a < b;
  };
  if (k < n) std::nth_element(index, index + k, index + n, before);
  std::sort(index, index + k);
  return k;
}

}  // namespace ops
}  // namespace heed
