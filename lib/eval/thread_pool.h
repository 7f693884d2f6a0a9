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

// Threads that pull tasks from a counter. They start with the first job that
// has several tasks. One job at a time: whoever comes while one runs computes
// alone. After a job they watch for the next for a tenth of a millisecond, as
// long as there is a processor for each of them, and sleep then: to wake a
// thread costs more than a short sequence.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
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
  // Whether there is something to do for who has seen all jobs up to `seen`.
  bool Called(uint64_t seen) const;
  template <class Done>
  bool Watch(const Done& done) const;
  void WakeSleepers();

  const int num_threads_;  // the caller's among them
  const bool watches_;
  std::mutex job_at_a_time_;
  std::vector<std::thread> threads_;

  // The number of the job that may be entered, 0 where there is none. Who
  // enters counts itself inside first, and looks then; who closes the job
  // writes 0 first, and waits then until nobody is inside.
  std::atomic<uint64_t> open_{0};
  std::atomic<int> inside_{0};
  std::atomic<bool> ends_{false};
  uint64_t jobs_ = 0;  // the caller's

  std::mutex mutex_;  // of falling asleep
  std::condition_variable wake_;
  std::condition_variable left_;
  std::atomic<int> sleepers_{0};
  std::atomic<bool> caller_sleeps_{false};

  std::atomic<int64_t> next_{0};
  int64_t num_tasks_ = 0;
  void* ctx_ = nullptr;
  void (*task_)(void* ctx, int64_t i, int worker) = nullptr;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_THREAD_POOL_H_
