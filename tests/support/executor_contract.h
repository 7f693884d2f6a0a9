// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tests a thread pool against the contract of heed/executor.h. Needs only that
// header and the standard library, so that any host can check its own pool in
// any test framework:
//
//   heed::Executor executor{&pool, &MyParallelFor, pool.size()};
//   const std::string broken = heed::test::CheckExecutor(executor);
//   if (!broken.empty()) Fail(broken);
//
// A pool that drops or repeats tasks, hands out a worker twice, or returns too
// early is reported in one sentence. A race is only found when it happens: run
// it under a thread sanitizer too.
#ifndef HEED_TESTS_SUPPORT_EXECUTOR_CONTRACT_H_
#define HEED_TESTS_SUPPORT_EXECUTOR_CONTRACT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "heed/executor.h"

namespace heed::test {

// What one parallel_for did.
struct ExecutorTrace {
  ExecutorTrace(int64_t tasks, int workers)
      : runs(new std::atomic<int>[static_cast<size_t>(tasks) + 1]()),
        busy(new std::atomic<int>[static_cast<size_t>(workers)]()),
        written(static_cast<size_t>(tasks), -1),
        num_tasks(tasks),
        max_workers(workers) {}

  std::unique_ptr<std::atomic<int>[]> runs;
  std::unique_ptr<std::atomic<int>[]> busy;
  // Plain memory, so that a missing synchronisation is a race.
  std::vector<int64_t> written;
  int64_t num_tasks;
  int max_workers;
  std::atomic<bool> bad_index{false};
  std::atomic<bool> bad_worker{false};
  std::atomic<bool> shared_worker{false};
  std::atomic<bool> lost_write{false};
  int pass = 0;
};

inline void TraceTask(void* ctx, int64_t i, int worker) {
  ExecutorTrace& trace = *static_cast<ExecutorTrace*>(ctx);
  if (i < 0 || i >= trace.num_tasks) {
    trace.bad_index = true;
    return;
  }
  trace.runs[static_cast<size_t>(i)].fetch_add(1);
  if (worker < 0 || worker >= trace.max_workers) {
    trace.bad_worker = true;
    return;
  }
  std::atomic<int>& busy = trace.busy[static_cast<size_t>(worker)];
  if (busy.fetch_add(1) != 0) trace.shared_worker = true;
  // On the second pass, what another task wrote on the first must be there.
  if (trace.pass == 1) {
    const int64_t other = trace.num_tasks - 1 - i;
    // Each cell is read here and rewritten only on a later pass.
    if (trace.written[static_cast<size_t>(other)] != other) {
      trace.lost_write = true;
    }
  } else {
    trace.written[static_cast<size_t>(i)] = i;
  }
  if (i % 7 == 0) std::this_thread::yield();
  busy.fetch_sub(1);
}

// Runs `num_tasks` tasks twice; returns "" or what was broken.
inline std::string CheckOneSize(const Executor& executor, int64_t num_tasks) {
  ExecutorTrace trace(num_tasks, executor.max_workers);
  const std::string of = " (of " + std::to_string(num_tasks) + " tasks)";
  for (trace.pass = 0; trace.pass < 2; ++trace.pass) {
    executor.parallel_for(executor.self, num_tasks, &trace, &TraceTask);
    for (int64_t i = 0; i < num_tasks; ++i) {
      const int runs = trace.runs[static_cast<size_t>(i)].load();
      if (runs != trace.pass + 1) {
        return "task " + std::to_string(i) + of + " had run " +
               std::to_string(runs) + " times, not " +
               std::to_string(trace.pass + 1) + ", when parallel_for returned";
      }
      if (trace.written[static_cast<size_t>(i)] != i && !trace.bad_worker) {
        return "what task " + std::to_string(i) + of +
               " wrote was not visible when parallel_for returned";
      }
    }
    if (trace.bad_index) return "a task index was out of range" + of;
    if (trace.bad_worker) {
      return "a worker was outside [0, max_workers)" + of;
    }
    if (trace.shared_worker) {
      return "two tasks held the same worker at the same time" + of;
    }
    if (trace.lost_write) {
      return "a task did not see what a task of the call before had written" +
             of;
    }
  }
  return "";
}

// Returns "" where `executor` keeps the contract, else one sentence.
// `concurrent_calls`: calls parallel_for from several threads at once, as
// TbbExecutor allows; the contract itself does not ask for it.
inline std::string CheckExecutor(const Executor& executor,
                                 bool concurrent_calls = false) {
  if (executor.parallel_for == nullptr) return "parallel_for is null";
  if (executor.max_workers < 1) return "max_workers is below 1";
  const int64_t workers = executor.max_workers;
  for (const int64_t num_tasks :
       {int64_t{0}, int64_t{1}, int64_t{2}, workers - 1, workers, workers + 1,
        3 * workers + 1, int64_t{1000}}) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      const std::string broken = CheckOneSize(executor, num_tasks);
      if (!broken.empty()) return broken;
    }
  }
  if (!concurrent_calls) return "";
  std::vector<std::string> broken(3);
  std::vector<std::thread> callers;
  for (std::string& result : broken) {
    callers.emplace_back([&executor, &result] {
      for (int repeat = 0; repeat < 5 && result.empty(); ++repeat) {
        result = CheckOneSize(executor, 200);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::string& result : broken) {
    if (!result.empty()) return "with several callers at once: " + result;
  }
  return "";
}

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_EXECUTOR_CONTRACT_H_
