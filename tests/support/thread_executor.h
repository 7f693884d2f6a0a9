// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// An executor of std::thread: the least that a host with its own threads needs.
#ifndef HEED_TESTS_SUPPORT_THREAD_EXECUTOR_H_
#define HEED_TESTS_SUPPORT_THREAD_EXECUTOR_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "heed/executor.h"

namespace heed::test {

// Starts max_workers - 1 threads a call; they and the caller pull tasks from a
// counter. Holds no state between calls, so calls may come from any thread.
class ThreadExecutor {
 public:
  explicit ThreadExecutor(int max_workers) : max_workers_(max_workers) {}

  operator Executor() {
    return Executor{this, &ThreadExecutor::ParallelFor, max_workers_};
  }

 private:
  static void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                          void (*task)(void* ctx, int64_t i, int worker)) {
    std::atomic<int64_t> next{0};
    const auto pull = [&](int worker) {
      for (int64_t i; (i = next.fetch_add(1)) < num_tasks;) {
        task(ctx, i, worker);
      }
    };
    const int workers = static_cast<ThreadExecutor*>(self)->max_workers_;
    std::vector<std::thread> threads;
    for (int worker = 1; worker < workers; ++worker) {
      threads.emplace_back(pull, worker);
    }
    pull(0);
    for (std::thread& thread : threads) thread.join();
  }

  int max_workers_;
};

// Runs all tasks on the caller's thread, last first, on the highest worker.
class BackwardExecutor {
 public:
  explicit BackwardExecutor(int max_workers) : max_workers_(max_workers) {}

  operator Executor() {
    return Executor{this, &BackwardExecutor::ParallelFor, max_workers_};
  }

 private:
  static void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                          void (*task)(void* ctx, int64_t i, int worker)) {
    const int worker = static_cast<BackwardExecutor*>(self)->max_workers_ - 1;
    for (int64_t i = num_tasks; i-- > 0;) task(ctx, i, worker);
  }

  int max_workers_;
};

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_THREAD_EXECUTOR_H_
