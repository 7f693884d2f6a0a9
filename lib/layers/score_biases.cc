// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Positions that are added to scores: ALiBi and T5.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/positions.h"
#include "lib/core/check.h"
#include "lib/core/double_math.h"

namespace heed {
namespace {

using internal::Invalid;

Status CheckHeads(int64_t num_heads) {
  if (num_heads >= 1 && num_heads <= INT32_MAX) return Status();
  return Invalid("num_heads", "must be 1 to 2^31 - 1").WithValue(num_heads);
}

// Buckets of one side, and how many of them are for one distance each.
struct Side {
  int64_t buckets, single;
};

Side SideOf(const T5Buckets& b) {
  const int64_t buckets = b.bidirectional ? b.num_buckets / 2 : b.num_buckets;
  return {buckets, buckets / 2};
}

Status CheckBuckets(const T5Buckets& b) {
  const Side side = SideOf(b);
  if (side.buckets < 2 || b.num_buckets > INT32_MAX ||
      (b.bidirectional && b.num_buckets % 2 != 0)) {
    return Invalid("num_buckets",
                   "must be at least 2 a side, and even with two sides")
        .WithValue(b.num_buckets)
        .WithBound(2, BoundKind::kSaid);
  }
  if (b.max_distance <= side.single || b.max_distance > INT32_MAX) {
    return Invalid("max_distance",
                   "must be above the buckets of single distances")
        .WithValue(b.max_distance)
        .WithBound(side.single + 1, BoundKind::kAtLeast);
  }
  return Status();
}

int64_t BucketOf(const T5Buckets& b, int64_t distance) {
  const Side side = SideOf(b);
  int64_t first = 0;
  if (b.bidirectional) {
    if (distance > 0) first = side.buckets;
  } else if (distance > 0) {
    distance = 0;
  }
  // Everything from max_distance on is in the last one.
  const int64_t far = std::clamp(distance, -b.max_distance, b.max_distance);
  const int64_t away = far < 0 ? -far : far;
  if (away < side.single) return first + away;
  const double single = static_cast<double>(side.single);
  // Powers of two are exact, so a bucket begins where its power is.
  const double grown =
      internal::Log2(static_cast<double>(away) / single) /
      internal::Log2(static_cast<double>(b.max_distance) / single);
  const int64_t beyond = static_cast<int64_t>(
      std::floor(grown * static_cast<double>(side.buckets - side.single)));
  return first + std::min(side.single + beyond, side.buckets - 1);
}

}  // namespace

Status AlibiSlopes(int64_t num_heads, float* slope) {
  const Status status = CheckHeads(num_heads);
  if (!status.ok()) return status;
  if (slope == nullptr) return Invalid("slope", "is null");
  int64_t power = 1;
  while (power * 2 <= num_heads) power *= 2;
  for (int64_t h = 0; h < num_heads; ++h) {
    const double exponent =
        h < power
            ? -8.0 * static_cast<double>(h + 1) / static_cast<double>(power)
            : -8.0 * static_cast<double>(2 * (h - power) + 1) /
                  static_cast<double>(2 * power);
    slope[h] = static_cast<float>(internal::Exp2(exponent));
  }
  return Status();
}

int64_t T5Bucket(const T5Buckets& buckets, int64_t distance) {
  return CheckBuckets(buckets).ok() ? BucketOf(buckets, distance) : -1;
}

Status FillT5Bias(const T5Buckets& buckets, int64_t num_heads,
                  const float* weight, int64_t reach, float* bias) {
  Status status = CheckBuckets(buckets);
  if (status.ok()) status = CheckHeads(num_heads);
  if (!status.ok()) return status;
  if (reach < 0 || reach > INT32_MAX) {
    return Invalid("reach", "must be 0 to 2^31 - 1").WithValue(reach);
  }
  if (weight == nullptr) return Invalid("weight", "is null");
  if (bias == nullptr) return Invalid("bias", "is null");
  for (int64_t distance = -reach; distance <= reach; ++distance) {
    const int64_t bucket = BucketOf(buckets, distance);
    for (int64_t h = 0; h < num_heads; ++h) {
      bias[h * (2 * reach + 1) + reach + distance] =
          weight[bucket * num_heads + h];
    }
  }
  return Status();
}

}  // namespace heed
