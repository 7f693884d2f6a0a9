// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Running a variant, and the exact kernel from within one.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "heed/ops.h"
#include "lib/core/check.h"
#include "lib/core/check_host.h"
#include "lib/core/tensors.h"
#include "lib/core/variant_call.h"

namespace heed {
namespace {

PlanOptions OptionsOf(const VariantArgs& host) {
  PlanOptions options;
  options.target = host.target;
  return options;
}

}  // namespace

Status CheckArgs(const AttentionParams& params, const AttentionArgs& args) {
  Plan plan;
  Status status = MakePlan(params, ShapeOf(args), PlanOptions(), &plan);
  internal::ForEachTensor(args, [&](const auto& view, const auto& name, auto) {
    if (!status.ok() || view.dtype == DType::kF32) return;
    status =
        Status(StatusCode::kUnsupported,
               name.dtype_field == nullptr ? name.argument : name.dtype_field,
               "must be f32 for a variant");
  });
  if (status.ok() &&
      (args.kv_scales.key_rotated || args.kv_scales.value_rotated)) {
    return Status(StatusCode::kUnsupported,
                  args.kv_scales.key_rotated ? "key_rotated" : "value_rotated",
                  "must be false for a variant");
  }
  return status.ok() ? internal::CheckArgs(plan, args) : status;
}

Status CheckServes(const Variant& variant, const AttentionParams& params,
                   const AttentionShape& shape) {
  if (variant.non_causal && params.causal) {
    return Status(StatusCode::kUnsupported, "causal",
                  "must be false: this variant has no causal form");
  }
  if (variant.equal_head_dims && shape.head_dim_v != shape.head_dim) {
    return Status(StatusCode::kUnsupported, "head_dim_v",
                  "must be head_dim: this variant works channel by channel")
        .WithValue(shape.head_dim_v)
        .WithBound(shape.head_dim, BoundKind::kNeeds);
  }
  return Status();
}

Status RunVariant(const Variant& variant, const VariantArgs& args) {
  if (variant.run == nullptr) return internal::Invalid("variant", "has no run");
  Status status = internal::CheckHost(args.executor, args.scratch);
  if (!status.ok()) return status;
  status = CheckArgs(args.params, args.args);
  if (!status.ok()) return status;
  if (variant.semantics == Semantics::kExactOnSelection) {
    status = internal::CheckSelects(args.args);
  } else if (variant.semantics == Semantics::kOwnReference) {
    status = internal::CheckNoPages(args.args);
  }
  if (!status.ok()) return status;
  status = CheckServes(variant, args.params, ShapeOf(args.args));
  if (!status.ok()) return status;
  if (args.target != nullptr) {
    Plan plan;
    status = MakePlan(args.params, ShapeOf(args.args), OptionsOf(args), &plan);
    if (!status.ok()) return status;
  }
  for (int i = 0; i < variant.num_knobs; ++i) {
    const Knob& knob = variant.knobs[i];
    const double value = args.knobs[i];
    // Written so that NaN fails.
    if (!(value >= knob.min && value <= knob.max)) {
      return Status(StatusCode::kInvalidArgument, knob.name,
                    "is outside the knob's range");
    }
    if (knob.integer && value != std::floor(value)) {
      return Status(StatusCode::kInvalidArgument, knob.name,
                    "must be a whole number");
    }
  }
  return variant.run(args);
}

namespace ops {

Status Attend(const AttentionParams& params, const AttentionArgs& args,
              const VariantArgs& host) {
  Status status = internal::CheckHost(host.executor, host.scratch);
  if (!status.ok()) return status;
  Plan plan;
  status = MakePlan(params, ShapeOf(args), OptionsOf(host), &plan);
  if (!status.ok()) return status;
  Workspace workspace;
  workspace.bytes = WorkspaceBytes(plan, host.executor.max_workers);
  workspace.data =
      host.scratch.Array<char>(static_cast<int64_t>(workspace.bytes));
  if (workspace.data == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the workspace of the exact kernel could not be allocated")
        .WithBound(static_cast<int64_t>(workspace.bytes), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  return Run(plan, args, workspace, host.executor);
}

}  // namespace ops
}  // namespace heed
