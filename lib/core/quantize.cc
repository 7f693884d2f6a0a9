// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// QuantizeKv: views of rows, checked and quantised.
#include <cstdint>

#include "heed/kv.h"
#include "lib/core/check.h"
#include "lib/core/quantize_row.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::Invalid;
using internal::IsFloat8;
using internal::TensorName;
using internal::TensorRole;

constexpr TensorName kSourceName = {"source", "overlaps source"};
constexpr TensorName kToName = {"to", "overlaps to"};
constexpr TensorName kScaleName = {"scale", "overlaps scale"};
constexpr TensorName kMinimumName = {"minimum", "overlaps minimum"};

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
  if (status.ok()) status = internal::CheckRowsBecome(source, to);
  if (!status.ok()) return status;
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
        internal::QuantizeRow(
            row, dim, {to.dtype, options.given_scale, groups}, row_scale,
            minimum.absent() ? nullptr : RowAt(minima, b, s, h), out);
      }
    }
  }
  return Status();
}

}  // namespace heed
