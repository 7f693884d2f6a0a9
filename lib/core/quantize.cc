// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Quantises rows of keys or values: portable, in double, so that every machine
// writes the same cache.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "heed/kv.h"
#include "lib/core/check.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::Invalid;
using internal::TensorName;
using internal::TensorRole;

constexpr TensorName kSourceName = {"source", "overlaps source"};
constexpr TensorName kToName = {"to", "overlaps to"};
constexpr TensorName kScaleName = {"scale", "overlaps scale"};
constexpr TensorName kMinimumName = {"minimum", "overlaps minimum"};

bool IsFloat8(DType dtype) {
  return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2;
}

Status CheckViews(const ConstTensorView& source, bool given_scale,
                  const ConstTensorView& to, const ConstTensorView& scale,
                  const ConstTensorView& minimum) {
  if (!internal::IsFloat(source.dtype)) {
    return Status(StatusCode::kUnsupported, "source",
                  "must be f32, bf16 or f16");
  }
  if (!internal::IsQuantised(to.dtype)) {
    return Status(StatusCode::kUnsupported, "to",
                  "must be i8, f8_e4m3, f8_e5m2 or u4");
  }
  if (given_scale && !IsFloat8(to.dtype)) {
    return Status(StatusCode::kUnsupported, "given_scale",
                  "is for float8 alone");
  }
  Status status = internal::CheckF32(scale, kScaleName);
  if (status.ok()) status = internal::CheckF32(minimum, kMinimumName);
  const struct {
    const ConstTensorView& view;
    const TensorName& name;
    bool output;
  } views[] = {{source, kSourceName, false},
               {scale, kScaleName, !given_scale},
               {minimum, kMinimumName, true},
               {to, kToName, true}};
  for (const auto& view : views) {
    if (!status.ok()) return status;
    status = internal::CheckView(
        view.view, view.name,
        view.output ? TensorRole::kOutput : TensorRole::kInput);
  }
  for (int i = 0; i < 4 && status.ok(); ++i) {
    if (to.extent[i] == source.extent[i]) continue;
    status = Invalid("to", "has another shape than source")
                 .WithIndex(i)
                 .WithValue(to.extent[i])
                 .WithBound(source.extent[i], BoundKind::kNeeds);
  }
  if (!status.ok()) return status;
  if (source.head_dim() < 1 || source.head_dim() > internal::kMaxHeadDim) {
    return Status(StatusCode::kUnsupported, "source",
                  "must have a head_dim of 1 to 1024")
        .WithIndex(3)
        .WithValue(source.head_dim())
        .WithBound(internal::kMaxHeadDim, BoundKind::kSaid);
  }
  if (!given_scale && scale.absent()) {
    return Invalid("scale", "is missing: there is nowhere to write it");
  }
  status =
      internal::CheckScalesOf({to, scale, minimum}, kScaleName, kMinimumName);
  if (!status.ok()) return status;
  for (const auto& output : views) {
    for (const auto& other : views) {
      if (!output.output || &other == &output) continue;
      status = internal::CheckOverlap(output.view, output.name, other.view,
                                      other.name);
      if (!status.ok()) return status;
    }
  }
  return Status();
}

// The f8 nearest to x, the even one of two; the largest finite one beyond it.
// `mantissa` bits, exponents from `first` on.
uint8_t ToFloat8(double x, int mantissa, int first, int largest) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::fabs(x);
  // No f8 has an exponent of 16.
  int exponent = first;
  while (exponent < 16 && magnitude >= std::ldexp(1.0, exponent + 1)) {
    ++exponent;
  }
  // In units of the last place; a carry moves into the exponent by itself.
  const double units =
      std::nearbyint(std::ldexp(magnitude, mantissa - exponent));
  const double bits =
      units + static_cast<double>((exponent - first) * (1 << mantissa));
  return static_cast<uint8_t>(
      sign | static_cast<int>(std::min<double>(bits, largest)));
}

uint8_t Encode(DType dtype, double x) {
  if (dtype == DType::kF8E4M3) {
    return std::isfinite(x) ? ToFloat8(x, 3, -6, 0x7e) : 0x7f;
  }
  if (std::isinf(x)) return std::signbit(x) ? 0xfc : 0x7c;
  return std::isnan(x) ? 0x7f : ToFloat8(x, 2, -14, 0x7b);
}

// How far the numbers of a type reach.
double LargestOf(DType dtype) {
  return dtype == DType::kI8 ? 127 : dtype == DType::kF8E4M3 ? 448 : 57344;
}

// A row, or a group of kU4: `count` numbers.
struct Range {
  float low, high;
  bool finite;
};
Range RangeOf(const float* x, int64_t count) {
  Range range = {x[0], x[0], true};
  for (int64_t i = 0; i < count; ++i) {
    range.low = std::min(range.low, x[i]);
    range.high = std::max(range.high, x[i]);
    range.finite = range.finite && std::isfinite(x[i]);
  }
  return range;
}

void QuantizeRow(const float* x, int64_t count, bool given, DType dtype,
                 float* scale, uint8_t* to) {
  double divisor = given ? static_cast<double>(*scale) : 0;
  if (!given) {
    const Range range = RangeOf(x, count);
    const float most = std::max(std::fabs(range.low), std::fabs(range.high));
    *scale =
        range.finite
            ? static_cast<float>(static_cast<double>(most) / LargestOf(dtype))
            : std::numeric_limits<float>::quiet_NaN();
    divisor = static_cast<double>(*scale);
    if (!(divisor > 0)) {
      for (int64_t i = 0; i < count; ++i) to[i] = 0;
      return;
    }
  } else if (!(divisor > 0 && std::isfinite(divisor))) {
    divisor = std::numeric_limits<double>::quiet_NaN();
  }
  for (int64_t i = 0; i < count; ++i) {
    const double q = static_cast<double>(x[i]) / divisor;
    if (dtype == DType::kI8) {
      const double whole = std::clamp(std::nearbyint(q), -127.0, 127.0);
      to[i] = static_cast<uint8_t>(static_cast<int8_t>(whole));
    } else {
      to[i] = Encode(dtype, q);
    }
  }
}

void QuantizeGroup(const float* x, int64_t count, float* scale, float* minimum,
                   uint8_t* to) {
  const Range range = RangeOf(x, count);
  const double low = static_cast<double>(range.low);
  *scale =
      range.finite
          ? static_cast<float>((static_cast<double>(range.high) - low) / 15)
          : std::numeric_limits<float>::quiet_NaN();
  *minimum = range.finite ? range.low : 0.0f;
  const double divisor = static_cast<double>(*scale);
  const auto encode = [&](int64_t i) {
    if (!(divisor > 0)) return 0;
    const double q = (static_cast<double>(x[i]) - low) / divisor;
    return static_cast<int>(std::clamp(std::nearbyint(q), 0.0, 15.0));
  };
  for (int64_t i = 0; i < count; i += 2) {
    to[i / 2] = static_cast<uint8_t>(encode(i) | encode(i + 1) << 4);
  }
}

}  // namespace

Status QuantizeKv(const ConstTensorView& source, const QuantizeOptions& options,
                  const TensorView& to, const TensorView& scale,
                  const TensorView& minimum) {
  const Status status =
      CheckViews(source, options.given_scale, to, scale, minimum);
  if (!status.ok()) return status;
  const ConstTensorView from = internal::UsedStrides(source);
  const TensorView rows = internal::UsedStrides(to);
  const TensorView scales = internal::UsedStrides(scale);
  const TensorView minima = internal::UsedStrides(minimum);
  const internal::OpsTable& ops =
      internal::KernelsOf(internal::BestTarget())->ops;
  const int64_t dim = from.head_dim();
  const int64_t groups = scale.absent() ? 1 : scale.head_dim();
  const int64_t size = dim / groups;
  float row[internal::kMaxHeadDim];
  float one = 1.0f;
  for (int64_t b = 0; b < from.batch(); ++b) {
    for (int64_t s = 0; s < from.seqlen(); ++s) {
      for (int64_t h = 0; h < from.heads(); ++h) {
        ops.widen(from.dtype, internal::BytesAt(from, b, s, h), dim, row);
        if (options.rotate) ops.rotate(row, dim);
        auto* out =
            reinterpret_cast<uint8_t*>(internal::BytesAt(rows, b, s, h));
        float* row_scale = scale.absent() ? &one : RowAt(scales, b, s, h);
        if (to.dtype != DType::kU4) {
          QuantizeRow(row, dim, options.given_scale, to.dtype, row_scale, out);
          continue;
        }
        float* row_minimum = RowAt(minima, b, s, h);
        for (int64_t g = 0; g < groups; ++g) {
          QuantizeGroup(row + g * size, size, row_scale + g, row_minimum + g,
                        out + g * size / 2);
        }
      }
    }
  }
  return Status();
}

}  // namespace heed
