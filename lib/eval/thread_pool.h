// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// An executor on threads of its own, for programs without oneTBB.
#ifndef HEED_LIB_EVAL_THREAD_POOL_H_
#define HEED_LIB_EVAL_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "heed/executor.h"

namespace heed::eval {

// Sleeping threads that pull tasks from a counter. They start with the first
// job that has several tasks. One job at a time: whoever comes while one runs
// computes alone.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads) : num_threads_(num_threads) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

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

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_THREAD_POOL_H_
