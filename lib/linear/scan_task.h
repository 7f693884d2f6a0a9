// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The tasks of a run of a scan.
#ifndef HEED_LIB_LINEAR_SCAN_TASK_H_
#define HEED_LIB_LINEAR_SCAN_TASK_H_

#include <cstdint>

#include "heed/linear.h"

namespace heed::internal {

// One checked call.
struct ScanRun {
  ScanPlan plan;
  ScanArgs args;  // with used strides
  Workspace workspace;
  int64_t sequences, tiles;
  int64_t splits;  // tasks of a head
  int64_t heads;   // of all sequences
  int64_t run;     // of them, one after the other, are a task
};

// Task i of the ScanRun at ctx: some heads of the states of sequences, or some
// columns of one.
void RunScanTask(void* ctx, int64_t i, int worker);

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_SCAN_TASK_H_
