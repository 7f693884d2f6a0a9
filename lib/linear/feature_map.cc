// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Feature maps that need no weights.
#include <algorithm>
#include <cstdint>

#include "heed/linear.h"
#include "heed/linear_ops.h"

namespace heed {
namespace {

// exp(min(x, 0)) + max(x, 0): no branch on a random sign.
void MapEluPlusOne(const void* /*self*/, const FeatureRows& rows) {
  const int64_t n = rows.x.cols;
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    for (int64_t c = 0; c < n; ++c) phi[c] = std::min(x[c], 0.0f);
    ops::Exp(phi, phi, n);
    for (int64_t c = 0; c < n; ++c) phi[c] += std::max(x[c], 0.0f);
  }
}

void MapRelu(const void* /*self*/, const FeatureRows& rows) {
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    // NaN stays NaN.
    for (int64_t c = 0; c < rows.x.cols; ++c) phi[c] = x[c] < 0 ? 0.0f : x[c];
  }
}

void MapUnitRows(const void* /*self*/, const FeatureRows& rows) {
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    ops::L2Norm(rows.x.row(i), 1e-6f, rows.phi.row(i), rows.x.cols);
  }
}

void MapUnitKeys(const void* self, const FeatureRows& rows) {
  if (rows.key) return MapUnitRows(self, rows);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    std::copy(x, x + rows.x.cols, rows.phi.row(i));
  }
}

}  // namespace

FeatureMap EluPlusOne(int64_t head_dim) {
  return {head_dim, nullptr, &MapEluPlusOne};
}

FeatureMap Relu(int64_t head_dim) { return {head_dim, nullptr, &MapRelu}; }

FeatureMap UnitKeys(int64_t head_dim) {
  return {head_dim, nullptr, &MapUnitKeys};
}

FeatureMap UnitRows(int64_t head_dim) {
  return {head_dim, nullptr, &MapUnitRows};
}

}  // namespace heed
