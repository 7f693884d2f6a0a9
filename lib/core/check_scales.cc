// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which scales and minima keys and values have, and of which extents: a cache
// whose parts do not fit is refused before anything is read.
#include <cstdint>

#include "lib/core/check.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

// A scale or minimum of `rows`, which has one.
Status CheckFits(const ConstTensorView& rows, const ConstTensorView& view,
                 const TensorName& name) {
  constexpr const char* kMessages[3] = {"must have the batch of its tensor",
                                        "must have the seqlen of its tensor",
                                        "must have the heads of its tensor"};
  for (int i = 0; i < 3; ++i) {
    if (view.extent[i] == rows.extent[i]) continue;
    return Invalid(name.argument, kMessages[i])
        .WithIndex(i)
        .WithValue(view.extent[i])
        .WithBound(rows.extent[i], BoundKind::kNeeds);
  }
  const int64_t dim = rows.head_dim();
  const int64_t groups = view.extent[3];
  if (rows.dtype != DType::kU4) {
    if (groups == 1) return Status();
    return Invalid(name.argument, "must be one number a row")
        .WithIndex(3)
        .WithValue(groups)
        .WithBound(1, BoundKind::kNeeds);
  }
  for (const int64_t size : {int64_t{32}, int64_t{64}}) {
    if (dim % size == 0 && groups == dim / size) return Status();
  }
  return Invalid(name.argument, "must be one number a group of 32 or 64")
      .WithIndex(3)
      .WithValue(groups)
      .WithBound(dim, BoundKind::kSaid);
}

}  // namespace

Status CheckScalesOf(const ScaledRows& t, const TensorName& scale,
                     const TensorName& minimum) {
  const bool packed = t.rows.dtype == DType::kU4;
  if (!IsQuantised(t.rows.dtype)) {
    if (t.scale.absent() && t.minimum.absent()) return Status();
    return Invalid((t.scale.absent() ? minimum : scale).argument,
                   "is given for a tensor that is not quantised");
  }
  if (!packed && !t.minimum.absent()) {
    return Invalid(minimum.argument, "is given for a tensor that is not u4");
  }
  // Without channels there is nothing to scale.
  if (packed && t.rows.head_dim() > 0) {
    if (t.scale.absent()) {
      return Invalid(scale.argument, "is missing: u4 needs one");
    }
    if (t.minimum.absent()) {
      return Invalid(minimum.argument, "is missing: u4 needs one");
    }
  }
  Status status;
  if (!t.scale.absent()) status = CheckFits(t.rows, t.scale, scale);
  if (status.ok() && !t.minimum.absent()) {
    status = CheckFits(t.rows, t.minimum, minimum);
  }
  if (!status.ok() || t.minimum.absent()) return status;
  if (t.minimum.head_dim() == t.scale.head_dim()) return status;
  return Invalid(minimum.argument, "must have the groups of its scale")
      .WithIndex(3)
      .WithValue(t.minimum.head_dim())
      .WithBound(t.scale.head_dim(), BoundKind::kNeeds);
}

Status CheckScales(const AttentionArgs& args) {
  const Status status =
      CheckScalesOf(KeysOf(args), kKeyScaleName, kKeyMinimumName);
  if (!status.ok()) return status;
  return CheckScalesOf(ValuesOf(args), kValueScaleName, kValueMinimumName);
}

}  // namespace heed::internal
