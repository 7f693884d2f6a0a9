// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: runs for hosts whose threads arrive as "i of n".
#include <cstdint>
#include <new>

#include "heed/attention.h"
#include "heed/heed_c.h"
#include "lib/c/convert.h"
#include "lib/c/memory.h"
#include "lib/c/report.h"
#include "lib/c/structs.h"

using heed::Status;
using namespace heed::internal;  // NOLINT

uint64_t heed_run_bytes(void) { return sizeof(heed_run); }

int32_t heed_begin_run(const heed_plan* plan, const heed_attention_args* args,
                       void* workspace, uint64_t workspace_bytes,
                       int32_t workers, const heed_run_options* options,
                       heed_run* run, uint64_t run_bytes, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AttentionArgs used_args;
    heed::RunOptions used_options;
    heed::AttentionRun begun;
    HookOfC hook;
    const Status result = FieldReader()
                              .Keep(CheckMade(plan, "plan"))
                              .Keep(Convert(args, &hook, &used_args))
                              .Keep(Convert(options, &used_options))
                              .Keep(CheckMemory(run, run_bytes, "run"))
                              .status();
    if (!result.ok()) return result;
    const Status checked =
        heed::BeginRun(plan->plan, used_args, {workspace, workspace_bytes},
                       workers, used_options, &begun);
    if (!checked.ok()) return checked;
    new (run) heed_run{heed_run::kMade, begun, hook};
    // The hook that the tasks call stands in the caller's memory from now on.
    if (hook.hook != nullptr) run->run.args.scores.hook_self = &run->hook;
    return Status();
  });
}

int32_t heed_num_phases(const heed_run* run) {
  return CheckMade(run, "run").ok() ? heed::NumPhases(run->run) : 0;
}

int64_t heed_num_tasks(const heed_run* run, int32_t phase) {
  return CheckMade(run, "run").ok() ? heed::NumTasks(run->run, phase) : 0;
}

int32_t heed_run_task(const heed_run* run, int32_t phase, int64_t i,
                      int32_t worker) {
  if (!CheckMade(run, "run").ok() || i < 0 ||
      i >= heed::NumTasks(run->run, phase) || worker < 0 ||
      worker >= run->run.workers) {
    return HEED_INVALID_ARGUMENT;
  }
  heed::RunTask(run->run, phase, i, worker);
  return HEED_OK;
}
