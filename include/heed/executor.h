// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Threads: the contract between heed and whoever owns them.
#ifndef HEED_EXECUTOR_H_
#define HEED_EXECUTOR_H_

#include <cstdint>

namespace heed {

// Runs task(ctx, i, worker) once for each i in [0, num_tasks) and returns when
// all have run. Tasks may run in any order, on any threads, or all on the
// caller's. `worker` is a slot in [0, max_workers) that no two tasks hold at
// the same time: it names the scratch memory that the task may use. A pool
// without thread numbers runs max_workers slots that pull i from a counter.
//
// Everything that tasks wrote must be visible to the caller on return, and to
// the tasks of a later call. The results of heed never depend on the order,
// the number of workers or the threads. Tasks do not throw and do not block,
// and parallel_for does not throw either.
struct Executor {
  void* self;
  void (*parallel_for)(void* self, int64_t num_tasks, void* ctx,
                       void (*task)(void* ctx, int64_t i, int worker));
  int max_workers;
};

namespace internal {
inline void SerialParallelFor(void* /*self*/, int64_t num_tasks, void* ctx,
                              void (*task)(void* ctx, int64_t i, int worker)) {
  for (int64_t i = 0; i < num_tasks; ++i) task(ctx, i, 0);
}
}  // namespace internal

// Runs everything on the calling thread.
inline Executor SerialExecutor() {
  return Executor{nullptr, &internal::SerialParallelFor, 1};
}

}  // namespace heed

#endif  // HEED_EXECUTOR_H_
