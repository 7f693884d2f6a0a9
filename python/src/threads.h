// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The threads of the Python door: the process's OpenMP team where torch brought
// one, since two pools would fight for the cores, else a pool of its own.
#ifndef HEED_PYTHON_SRC_THREADS_H_
#define HEED_PYTHON_SRC_THREADS_H_

#include <memory>

#include "heed/executor.h"
#include "lib/eval/thread_pool.h"

namespace heed::python {

// The threads of one call.
struct Threads {
  Executor executor;
  std::shared_ptr<eval::ThreadPool> pool;  // keeps what `executor` points at
};

// Returns the threads that calls take now. `torch_is_loaded` says whether to
// look for its OpenMP team. Works in a child of fork() too: threads are started
// anew there, and OpenMP's, which do not survive, are left alone.
Threads CurrentThreads(bool torch_is_loaded);

// 0: as many as OpenMP has, or as processors that this process may run on.
void SetNumThreads(int num_threads);

// "OpenMP" or "own", as CurrentThreads would choose.
const char* ThreadsRuntime(bool torch_is_loaded);

}  // namespace heed::python

#endif  // HEED_PYTHON_SRC_THREADS_H_
