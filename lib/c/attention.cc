// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: plans, and runs on an executor.
#include "heed/attention.h"

#include <cstdint>
#include <new>

#include "heed/heed_c.h"
#include "lib/c/convert.h"
#include "lib/c/memory.h"
#include "lib/c/report.h"
#include "lib/c/structs.h"

using heed::Status;
using namespace heed::internal;  // NOLINT

int32_t heed_attention_params_init(heed_attention_params* params,
                                   uint64_t struct_size) {
  heed_attention_params defaults = {};
  const heed::AttentionParams from;
  defaults.softmax_scale = from.softmax_scale;
  defaults.softcap = from.softcap;
  defaults.causal = from.causal;
  defaults.causal_offset = from.causal_offset;
  defaults.window_left = from.window_left;
  defaults.window_right = from.window_right;
  defaults.sink_size = from.sink_size;
  return InitStruct(defaults, params, struct_size);
}

int32_t heed_plan_options_init(heed_plan_options* options,
                               uint64_t struct_size) {
  heed_plan_options defaults = {};
  const heed::PlanOptions from;
  defaults.target = from.target;
  defaults.unit = from.unit;
  defaults.lane_groups = from.lane_groups;
  defaults.decode_rows = from.decode_rows;
  defaults.numerics = static_cast<int32_t>(from.numerics);
  return InitStruct(defaults, options, struct_size);
}

int32_t heed_shape_of(const heed_attention_args* args,
                      heed_attention_shape* shape, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AttentionArgs from;
    HookOfC hook;
    Status result = Convert(args, &hook, &from);
    if (!result.ok()) return result;
    result = CheckOutStruct(shape, "shape");
    if (result.ok()) WriteStruct(ConvertBack(heed::ShapeOf(from)), shape);
    return result;
  });
}

uint64_t heed_plan_bytes(void) { return sizeof(heed_plan); }

int32_t heed_make_plan(const heed_attention_params* params,
                       const heed_attention_shape* shape,
                       const heed_plan_options* options, heed_plan* plan,
                       uint64_t plan_bytes, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AttentionParams used_params;
    heed::AttentionShape used_shape;
    heed::PlanOptions used_options;
    heed::Plan made;
    const Status result = FieldReader()
                              .Keep(Convert(params, &used_params))
                              .Keep(Convert(shape, &used_shape))
                              .Keep(Convert(options, &used_options))
                              .Keep(CheckMemory(plan, plan_bytes, "plan"))
                              .status();
    if (!result.ok()) return result;
    const Status planned =
        heed::MakePlan(used_params, used_shape, used_options, &made);
    if (planned.ok()) new (plan) heed_plan{heed_plan::kMade, made};
    return planned;
  });
}

int32_t heed_workspace_bytes(const heed_plan* plan, int32_t workers,
                             uint64_t* bytes, heed_status* status) {
  return Reported(status, [&]() -> Status {
    const Status result = CheckMade(plan, "plan");
    if (!result.ok()) return result;
    if (bytes == nullptr) return InvalidStruct("bytes", "is null");
    if (workers < 1) {
      return InvalidStruct("workers", "must be positive").WithValue(workers);
    }
    *bytes = heed::WorkspaceBytes(plan->plan, workers);
    return Status();
  });
}

uint64_t heed_workspace_alignment(void) { return heed::kWorkspaceAlignment; }

int32_t heed_explain_plan(const heed_plan* plan, char* text, uint64_t capacity,
                          uint64_t* length, heed_status* status) {
  return Reported(status, [&]() -> Status {
    const Status result = CheckMade(plan, "plan");
    if (!result.ok()) return result;
    if (text == nullptr && capacity != 0) {
      return InvalidStruct("text", "is null");
    }
    const size_t written = heed::ExplainPlan(plan->plan, text, capacity);
    if (length != nullptr) *length = written;
    return Status();
  });
}

int32_t heed_run_plan(const heed_plan* plan, const heed_attention_args* args,
                      void* workspace, uint64_t workspace_bytes,
                      const heed_executor* executor, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AttentionArgs used_args;
    heed::Executor used_executor;
    HookOfC hook;
    const Status result = FieldReader()
                              .Keep(CheckMade(plan, "plan"))
                              .Keep(Convert(args, &hook, &used_args))
                              .Keep(Convert(executor, &used_executor))
                              .status();
    if (!result.ok()) return result;
    return heed::Run(plan->plan, used_args, {workspace, workspace_bytes},
                     used_executor);
  });
}

int32_t heed_attention(const heed_attention_params* params,
                       const heed_attention_args* args,
                       const heed_executor* executor, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AttentionParams used_params;
    heed::AttentionArgs used_args;
    heed::Executor used_executor;
    HookOfC hook;
    const Status result = FieldReader()
                              .Keep(Convert(params, &used_params))
                              .Keep(Convert(args, &hook, &used_args))
                              .Keep(Convert(executor, &used_executor))
                              .status();
    if (!result.ok()) return result;
    return heed::Attention(used_params, used_args, used_executor);
  });
}
