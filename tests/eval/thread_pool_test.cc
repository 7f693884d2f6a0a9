// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/eval/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "heed/executor.h"

namespace heed::eval {
namespace {

// What a job does and what became of it. Plain memory, so that the thread
// sanitizer sees whether jobs are apart.
struct Job {
  explicit Job(int64_t num_tasks, int max_workers)
      : runs(static_cast<size_t>(num_tasks), 0),
        busy(static_cast<size_t>(max_workers)) {}

  static void Task(void* ctx, int64_t i, int worker) {
    Job& job = *static_cast<Job*>(ctx);
    const auto slot = static_cast<size_t>(worker);
    if (job.busy[slot].exchange(true)) job.shared_slot = true;
    ++job.runs[static_cast<size_t>(i)];
    job.busy[slot].store(false);
  }

  void RunOn(const Executor& executor) {
    executor.parallel_for(executor.self, static_cast<int64_t>(runs.size()),
                          this, &Task);
  }

  void ExpectAllOnce() const {
    for (const int count : runs) ASSERT_EQ(count, 1);
    EXPECT_FALSE(shared_slot);
  }

  std::vector<int> runs;  // of each task
  std::vector<std::atomic<bool>> busy;
  std::atomic<bool> shared_slot{false};
};

// A task for each thread, none of which ends before all have begun: so each
// thread must come, however late the system lets it run.
struct Meeting {
  explicit Meeting(int num_threads) : missing(num_threads) {}

  static void Task(void* ctx, int64_t /*i*/, int worker) {
    Meeting& meeting = *static_cast<Meeting*>(ctx);
    --meeting.missing;
    // Only who is never woken is as late as that.
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (meeting.missing > 0) {
      std::this_thread::yield();
      if (std::chrono::steady_clock::now() > end) meeting.missed = true;
      if (meeting.missed) return;
    }
    if (worker != 0) std::this_thread::sleep_for(meeting.others_stay);
    ++meeting.ended;
  }

  void RunOn(const Executor& executor) {
    executor.parallel_for(executor.self, executor.max_workers, this, &Task);
  }

  std::atomic<int> missing;
  std::atomic<bool> missed{false};
  std::atomic<int> ended{0};
  std::chrono::microseconds others_stay{0};
};

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.executor().max_workers, threads);
    for (const int64_t tasks : {0, 1, 2, 3, 7, 100}) {
      SCOPED_TRACE(testing::Message() << threads << " threads, " << tasks);
      Job job(tasks, threads);
      job.RunOn(pool.executor());
      job.ExpectAllOnce();
    }
  }
}

// Short jobs one after the other: a worker comes late to many of them.
TEST(ThreadPoolTest, ManyShortJobs) {
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    for (int turn = 0; turn < 3000; ++turn) {
      Job job(2 + turn % 5, threads);
      job.RunOn(pool.executor());
      job.ExpectAllOnce();
    }
  }
}

// Longer apart than threads watch, so that all have to be woken; and with more
// threads than processors, which do not watch.
TEST(ThreadPoolTest, WakesWhoSleeps) {
  for (const int threads : {2, 3, 9}) {
    ThreadPool pool(threads);
    for (int turn = 0; turn < 20; ++turn) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      Meeting meeting(threads);
      meeting.RunOn(pool.executor());
      ASSERT_FALSE(meeting.missed) << threads << " threads, turn " << turn;
      ASSERT_EQ(meeting.ended, threads);
    }
  }
}

// The caller's own task ends before those of others: while it watches for that,
// and after it has fallen asleep.
TEST(ThreadPoolTest, WaitsForTheLast) {
  ThreadPool pool(2);
  for (int turn = 0; turn < 40; ++turn) {
    Meeting meeting(2);
    meeting.others_stay = std::chrono::microseconds(turn % 2 == 0 ? 2000 : 20);
    meeting.RunOn(pool.executor());
    ASSERT_FALSE(meeting.missed);
    ASSERT_EQ(meeting.ended, 2) << "in turn " << turn;
  }
}

TEST(ThreadPoolTest, ServesSeveralCallers) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&pool] {
      for (int turn = 0; turn < 300; ++turn) {
        Job job(5, 2);
        job.RunOn(pool.executor());
        job.ExpectAllOnce();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(ThreadPoolTest, EndsAtAnyTime) {
  for (int turn = 0; turn < 50; ++turn) {
    ThreadPool pool(3);
    if (turn % 5 == 0) continue;  // never started
    Job job(4, 3);
    job.RunOn(pool.executor());
    job.ExpectAllOnce();
    if (turn % 2 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(150));
    }
  }
}

}  // namespace
}  // namespace heed::eval
