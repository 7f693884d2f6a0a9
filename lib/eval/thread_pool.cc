// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/eval/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <system_error>

#include "lib/eval/processors.h"

namespace heed::eval {
namespace {

// Zen 3, two threads, calls one after the other from Python, medians with
// threads that sleep at once and with these: 12 heads of 16 tokens 44 and 26
// microseconds, of 32 75 and 57, 8 x 12 heads of 16 172 and 150. Calls that
// follow each other in a model are closer than this.
constexpr std::chrono::microseconds kWatch(100);
constexpr int kPauses = 32;  // between looks at the clock

// Leaves the core to its other thread for a moment.
void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads), watches_(num_threads <= UsableProcessors()) {}

ThreadPool::~ThreadPool() {
  ends_.store(true);
  WakeSleepers();
  for (std::thread& thread : threads_) thread.join();
}

Executor ThreadPool::executor() {
  return Executor{this, &ThreadPool::ParallelFor, num_threads_};
}

bool ThreadPool::Called(uint64_t seen) const {
  const uint64_t open = open_.load();
  return (open != 0 && open != seen) || ends_.load();
}

// Looks until done() or for kWatch; returns the last done().
template <class Done>
bool ThreadPool::Watch(const Done& done) const {
  if (done()) return true;
  if (!watches_) return false;
  const auto end = std::chrono::steady_clock::now() + kWatch;
  do {
    for (int i = 0; i < kPauses; ++i) {
      Pause();
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void ThreadPool::WakeSleepers() {
  if (sleepers_.load() == 0) return;
  // Whoever counts as a sleeper either sleeps by now or has not looked yet.
  { const std::lock_guard<std::mutex> lock(mutex_); }
  wake_.notify_all();
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
  pool.num_tasks_ = num_tasks;
  pool.ctx_ = ctx;
  pool.task_ = task;
  pool.next_.store(0);
  pool.open_.store(++pool.jobs_);
  pool.WakeSleepers();
  pool.Pull(0);
  pool.open_.store(0);
  const auto all_left = [&] { return pool.inside_.load() == 0; };
  if (pool.Watch(all_left)) return;
  std::unique_lock<std::mutex> lock(pool.mutex_);
  pool.caller_sleeps_.store(true);
  pool.left_.wait(lock, all_left);
  pool.caller_sleeps_.store(false);
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
  for (;;) {
    const auto called = [&] { return Called(seen); };
    if (!Watch(called)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, called);
      sleepers_.fetch_sub(1);
    }
    if (ends_.load()) return;
    inside_.fetch_add(1);
    const uint64_t open = open_.load();
    if (open != 0) {
      seen = open;
      Pull(worker);
    }
    if (inside_.fetch_sub(1) == 1 && caller_sleeps_.load()) {
      { const std::lock_guard<std::mutex> lock(mutex_); }
      left_.notify_one();
    }
  }
}

void ThreadPool::Pull(int worker) {
  for (int64_t i; (i = next_.fetch_add(1)) < num_tasks_;) {
    task_(ctx_, i, worker);
  }
}

}  // namespace heed::eval
