// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: states, and partial results that merge.
#include "heed/states.h"

#include <cstdint>

#include "heed/attention.h"
#include "heed/heed_c.h"
#include "lib/c/convert.h"
#include "lib/c/convert_cache.h"
#include "lib/c/memory.h"
#include "lib/c/report.h"
#include "lib/c/structs.h"

using heed::Status;
using namespace heed::internal;  // NOLINT

int32_t heed_merge_states(const heed_tensor* out_a, const heed_tensor* lse_a,
                          const heed_tensor* out_b, const heed_tensor* lse_b,
                          const heed_tensor* out, const heed_tensor* lse,
                          heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::ConstTensorView out_a_view, lse_a_view, out_b_view, lse_b_view;
    heed::TensorView out_view, lse_view;
    const Status result = FieldReader()
                              .Keep(Given(out_a, "out_a", &out_a_view))
                              .Keep(Given(lse_a, "lse_a", &lse_a_view))
                              .Keep(Given(out_b, "out_b", &out_b_view))
                              .Keep(Given(lse_b, "lse_b", &lse_b_view))
                              .Keep(Given(out, "out", &out_view))
                              .Keep(Given(lse, "lse", &lse_view))
                              .status();
    if (!result.ok()) return result;
    return heed::MergeStates(out_a_view, lse_a_view, out_b_view, lse_b_view,
                             out_view, lse_view);
  });
}

int32_t heed_num_states(const heed_shard* shard, int64_t num_keys,
                        int64_t* count, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::Shard used_shard;
    const Status result = Convert(shard, &used_shard);
    if (!result.ok()) return result;
    if (count == nullptr) return InvalidStruct("count", "is null");
    if (num_keys < 0) {
      return InvalidStruct("num_keys", "must not be negative")
          .WithValue(num_keys);
    }
    *count = heed::NumStates(used_shard, num_keys);
    return Status();
  });
}

int32_t heed_run_states(const heed_plan* plan, const heed_attention_args* args,
                        const heed_shard* shard, void* workspace,
                        uint64_t workspace_bytes, const heed_executor* executor,
                        const heed_tensor* states, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AttentionArgs used_args;
    heed::Shard used_shard;
    heed::Executor used_executor;
    heed::TensorView states_view;
    HookOfC hook;
    const Status result = FieldReader()
                              .Keep(CheckMade(plan, "plan"))
                              .Keep(Convert(args, &hook, &used_args))
                              .Keep(Convert(shard, &used_shard))
                              .Keep(Convert(executor, &used_executor))
                              .Keep(Given(states, "states", &states_view))
                              .status();
    if (!result.ok()) return result;
    return heed::RunStates(plan->plan, used_args, used_shard,
                           {workspace, workspace_bytes}, used_executor,
                           states_view);
  });
}

int32_t heed_init_states(const heed_tensor* memory, heed_running_states* total,
                         heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::TensorView view;
    heed::RunningStates made;
    Status result = FieldReader()
                        .Keep(Given(memory, "memory", &view))
                        .Keep(CheckOutStruct(total, "total"))
                        .status();
    if (!result.ok()) return result;
    result = heed::InitStates(view, &made);
    if (result.ok()) WriteStruct(ConvertBack(made), total);
    return result;
  });
}

int32_t heed_append_states(const heed_tensor* states, const heed_shard* shard,
                           int64_t num_keys, heed_running_states* total,
                           heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::ConstTensorView view;
    heed::Shard used_shard;
    heed::RunningStates used_total;
    Status result = FieldReader()
                        .Keep(Given(states, "states", &view))
                        .Keep(Convert(shard, &used_shard))
                        .Keep(Convert(total, &used_total))
                        .status();
    if (!result.ok()) return result;
    result = heed::AppendStates(view, used_shard, num_keys, &used_total);
    if (result.ok()) WriteStruct(ConvertBack(used_total), total);
    return result;
  });
}

int32_t heed_finish_states(const heed_running_states* total,
                           int32_t value_rotated, const heed_tensor* out,
                           const heed_tensor* lse, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::RunningStates used_total;
    bool rotated = false;
    heed::TensorView out_view, lse_view;
    const Status result = FieldReader()
                              .Keep(Convert(total, &used_total))
                              .Bool(value_rotated, "value_rotated", &rotated)
                              .Keep(Given(out, "out", &out_view))
                              .Keep(Optional(lse, "lse", &lse_view))
                              .status();
    if (!result.ok()) return result;
    return heed::FinishStates(used_total, rotated, out_view, lse_view);
  });
}
