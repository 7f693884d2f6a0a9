// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tables of cosines and sines.
#include <cmath>
#include <cstdint>

#include "heed/rope.h"
#include "lib/core/check.h"
#include "lib/core/double_math.h"
#include "lib/kernels/kernel_table.h"

namespace heed {
namespace {

constexpr double kMostFrequency = 16.0;

Status CheckRotaryDim(int64_t rotary_dim) {
  if (rotary_dim >= 2 && rotary_dim <= internal::kMaxHeadDim &&
      rotary_dim % 2 == 0) {
    return Status();
  }
  return internal::Invalid("rotary_dim", "must be even, 2 to 1024")
      .WithValue(rotary_dim)
      .WithBound(internal::kMaxHeadDim, BoundKind::kSaid);
}

}  // namespace

Status RopeFrequencies(double theta, int64_t rotary_dim, double* frequency) {
  const Status status = CheckRotaryDim(rotary_dim);
  if (!status.ok()) return status;
  if (!(theta > 0 && std::isfinite(theta))) {
    return internal::Invalid("theta", "must be finite and above 0");
  }
  if (frequency == nullptr) return internal::Invalid("frequency", "is null");
  const double log_theta = internal::Log2(theta);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    frequency[i] = internal::Exp2(-log_theta * static_cast<double>(2 * i) /
                                  static_cast<double>(rotary_dim));
  }
  return Status();
}

Status FillRopeTables(const double* frequency, int64_t rotary_dim,
                      int64_t first, int64_t count, float* cos, float* sin) {
  const Status status = CheckRotaryDim(rotary_dim);
  if (!status.ok()) return status;
  if (first < 0 || first > INT32_MAX) {
    return internal::Invalid("first", "must be 0 to 2^31 - 1").WithValue(first);
  }
  if (count < 0 || count > int64_t{INT32_MAX} + 1 - first) {
    return internal::Invalid("count", "must leave positions below 2^31")
        .WithValue(count);
  }
  if (frequency == nullptr) return internal::Invalid("frequency", "is null");
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    if (std::fabs(frequency[i]) <= kMostFrequency) continue;
    return internal::Invalid("frequency", "must be finite, at most 16 in size")
        .WithIndex(i);
  }
  if (count == 0) return Status();
  if (cos == nullptr) return internal::Invalid("cos", "is null");
  if (sin == nullptr) return internal::Invalid("sin", "is null");
  for (int64_t s = 0; s < count; ++s) {
    for (int64_t i = 0; i < half; ++i) {
      const internal::SinCos at =
          internal::SinCosOf(static_cast<double>(first + s) * frequency[i]);
      cos[s * half + i] = static_cast<float>(at.cos);
      sin[s * half + i] = static_cast<float>(at.sin);
    }
  }
  return Status();
}

}  // namespace heed
