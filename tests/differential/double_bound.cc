// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/differential/double_bound.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::test {
namespace {

constexpr double kUnit = 0x1p-24;  // the rounding of one operation

template <class Number>
double Largest(const std::vector<Number>& numbers) {
  double largest = 0;
  for (const Number x : numbers) {
    if (std::isfinite(x)) largest = std::max<double>(largest, std::fabs(x));
  }
  return largest;
}

// Relative, in the chain over keys: where numbers are all equal, each step
// rounds the same way, in the sum of values and in that of weights.
double LostInKeys(const FuzzCase& c) {
  return kUnit * static_cast<double>(std::min<int64_t>(c.keys, 4096));
}

// Absolute, in a score: large products may cancel. So much is in an lse, and
// relatively in a weight.
double LostInScores(const FuzzCase& c, const FuzzTensors& tensors) {
  const std::vector<float> query = tensors.query.Numbers();
  const std::vector<float> key = tensors.key.Numbers();
  const int64_t heads = c.kv_heads * c.group;
  double largest = 0;
  for (int64_t row = 0; row < c.batch * c.rows * heads; ++row) {
    const float* const q = query.data() + row * c.dim;
    const int64_t b = row / (c.rows * heads);
    const int64_t head = row % heads / c.group;
    for (int64_t at = 0; at < c.keys; ++at) {
      const float* const k =
          key.data() + ((b * c.keys + at) * c.kv_heads + head) * c.dim;
      double sum = 0;
      for (int64_t i = 0; i < c.dim; ++i) {
        sum += std::fabs(static_cast<double>(q[i]) * k[i]);
      }
      if (std::isfinite(sum)) largest = std::max(largest, sum);
    }
  }
  const double dim = static_cast<double>(c.dim);
  const double scale = c.scale != 0
                           ? std::fabs(static_cast<double>(c.scale)) / 1024
                           : 1 / std::sqrt(dim);
  return kUnit * (4 + std::sqrt(dim)) * scale * largest;
}

}  // namespace

DoubleBound BoundOf(const FuzzCase& c, const FuzzTensors& tensors,
                    const Truth& truth) {
  const double scores = LostInScores(c, tensors);
  const double keys = LostInKeys(c);
  return {
      truth.out_bound() + keys * std::max(1.0, Largest(truth.out())) +
          2 * scores * Largest(tensors.value.Numbers()),
      truth.lse_bound() + keys * std::max(1.0, Largest(truth.lse())) + scores};
}

bool FitForDouble(const FuzzCase& c) {
  constexpr int64_t kInfinite = 2 | 4 | 16 | 128;
  // Where positions share memory, what no row sees is seen elsewhere.
  const bool spreads =
      c.poison != 0 && (c.key.repeat != 0 || c.value.repeat != 0);
  // Numbers that a rotation makes larger are in no term of the bound.
  return (c.specials == 0 || (c.kinds & kInfinite) == 0) && !spreads &&
         c.rotated == 0;
}

}  // namespace heed::test
