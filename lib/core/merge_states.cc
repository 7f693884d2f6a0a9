// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The merge of two finished partial results.
#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/kernels/kernels.h"

namespace heed {
Status MergeStates(const ConstTensorView& out_a, const ConstTensorView& lse_a,
                   const ConstTensorView& out_b, const ConstTensorView& lse_b,
                   const TensorView& out, const TensorView& lse) {
  const struct {
    ConstTensorView view;
    internal::TensorName name;
  } views[] = {{out_a, {"out_a", "overlaps out_a"}},
               {lse_a, {"lse_a", "overlaps lse_a"}},
               {out_b, {"out_b", "overlaps out_b"}},
               {lse_b, {"lse_b", "overlaps lse_b"}},
               {out, internal::kOutName},
               {lse, internal::kLseName}};
  constexpr int kOutputs = 4;  // the first output
  for (int i = 0; i < 6; ++i) {
    Status status = internal::CheckF32(views[i].view, views[i].name);
    if (!status.ok()) return status;
    status = internal::CheckView(views[i].view, views[i].name,
                                 i >= kOutputs ? internal::TensorRole::kOutput
                                               : internal::TensorRole::kInput);
    if (!status.ok()) return status;
    for (int axis = 0; axis < 4; ++axis) {
      const int64_t want = i % 2 == 1 && axis == 3 ? 1 : out.extent[axis];
      if (views[i].view.extent[axis] == want) continue;
      return Status(StatusCode::kInvalidArgument, views[i].name.argument,
                    "has another shape than out")
          .WithIndex(axis)
          .WithValue(views[i].view.extent[axis])
          .WithBound(want, BoundKind::kNeeds);
    }
  }
  for (int o = kOutputs; o < 6; ++o) {
    for (int i = 0; i < o; ++i) {
      const bool in_place = i < kOutputs && i % 2 == o % 2 &&
                            internal::SameView(views[o].view, views[i].view);
      if (in_place) continue;
      const Status status = internal::CheckOverlap(
          views[o].view, views[o].name, views[i].view, views[i].name);
      if (!status.ok()) return status;
    }
  }
  if (lse.batch() == 0 || lse.seqlen() == 0 || lse.heads() == 0) {
    return Status();  // at once, however large the other extents are
  }
  const internal::AttentionTable& table =
      internal::KernelsOf(internal::BestTarget())->attention;
  const ConstTensorView from[2] = {internal::UsedStrides(out_a),
                                   internal::UsedStrides(out_b)};
  const TensorView to = internal::UsedStrides(out);
  for (int64_t b = 0; b < out.batch(); ++b) {
    for (int64_t s = 0; s < out.seqlen(); ++s) {
      for (int64_t h = 0; h < out.heads(); ++h) {
        table.merge_rows({RowAt(from[0], b, s, h), *RowAt(lse_a, b, s, h)},
                         {RowAt(from[1], b, s, h), *RowAt(lse_b, b, s, h)},
                         out.head_dim(), RowAt(to, b, s, h),
                         RowAt(lse, b, s, h));
      }
    }
  }
  return Status();
}

}  // namespace heed
