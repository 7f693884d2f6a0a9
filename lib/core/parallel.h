// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tasks on a caller's executor, counted.
#ifndef HEED_LIB_CORE_PARALLEL_H_
#define HEED_LIB_CORE_PARALLEL_H_

#include <cstdint>

#include "heed/executor.h"
#include "heed/status.h"

namespace heed::internal {

// Runs task(ctx, i, worker) for every i in [0, num_tasks), worker in [0,
// workers). Refuses with kInternal, after the fact, where the executor dropped
// or repeated tasks. A single task runs on the calling thread.
Status ParallelFor(const Executor& executor, int64_t num_tasks, int workers,
                   void* ctx, void (*task)(void* ctx, int64_t i, int worker));

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_PARALLEL_H_
