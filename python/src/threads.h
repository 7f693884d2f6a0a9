// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The threads of the Python door: the process's OpenMP team where torch brought
// one, since two pools would fight for the cores, else a pool of its own.
#ifndef HEED_PYTHON_SRC_THREADS_H_
#define HEED_PYTHON_SRC_THREADS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "heed/executor.h"

namespace heed::python {

// Sleeping threads that pull tasks from a counter. They start with the first
// job that has several tasks. One job at a time: whoever comes while one runs
// computes alone.
class Pool {
 public:
  explicit Pool(int num_threads) : num_threads_(num_threads) {}
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Valid as long as this object.
  Executor executor();

 private:
  static void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                          void (*task)(void* ctx, int64_t i, int worker));
  void Start();
  void Work(int worker);
  void Pull(int worker);

  const int num_threads_;  // the caller's among them
  std::mutex job_at_a_time_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // of what follows, but for next_
  std::condition_variable wake_;
  std::condition_variable left_;
  uint64_t job_ = 0;
  bool open_ = false;
  bool ends_ = false;
  int inside_ = 0;

  std::atomic<int64_t> next_{0};
  int64_t num_tasks_ = 0;
  void* ctx_ = nullptr;
  void (*task_)(void* ctx, int64_t i, int worker) = nullptr;
};

// The threads of one call.
struct Threads {
  Executor executor;
  std::shared_ptr<Pool> pool;  // keeps what `executor` points at
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
