// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/eval/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>

namespace heed::eval {

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Executor ThreadPool::executor() {
  return Executor{this, &ThreadPool::ParallelFor, num_threads_};
}

void ThreadPool::ParallelFor(void* self, int64_t num_tasks, void* ctx,
                             void (*task)(void* ctx, int64_t i, int worker)) {
  ThreadPool& pool = *static_cast<ThreadPool*>(self);
  std::unique_lock<std::mutex> mine(pool.job_at_a_time_, std::defer_lock);
  if (num_tasks <= 1 || pool.num_threads_ == 1 || !mine.try_lock()) {
    for (int64_t i = 0; i < num_tasks; ++i) task(ctx, i, 0);
    return;
  }
  pool.Start();
  {
    const std::lock_guard<std::mutex> lock(pool.mutex_);
    pool.num_tasks_ = num_tasks;
    pool.ctx_ = ctx;
    pool.task_ = task;
    pool.next_.store(0);
    pool.open_ = true;
    ++pool.job_;
  }
  pool.wake_.notify_all();
  pool.Pull(0);
  std::unique_lock<std::mutex> lock(pool.mutex_);
  pool.open_ = false;
  pool.left_.wait(lock, [&] { return pool.inside_ == 0; });
}

void ThreadPool::Start() {
  if (!threads_.empty()) return;
  // Signals are for the threads of the program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    for (int worker = 1; worker < num_threads_; ++worker) {
      threads_.emplace_back([this, worker] { Work(worker); });
    }
  } catch (const std::system_error&) {
    // The system gives no more: those that there are do it.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ThreadPool::Work(int worker) {
  uint64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return ends_ || (open_ && job_ != seen); });
    if (ends_) return;
    seen = job_;
    ++inside_;
    lock.unlock();
    Pull(worker);
    lock.lock();
    if (--inside_ == 0) left_.notify_one();
  }
}

void ThreadPool::Pull(int worker) {
  for (int64_t i; (i = next_.fetch_add(1)) < num_tasks_;) {
    task_(ctx_, i, worker);
  }
}

}  // namespace heed::eval
