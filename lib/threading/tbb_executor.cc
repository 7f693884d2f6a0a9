// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The oneTBB executor: the only file that includes oneTBB.
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "heed/tbb.h"

namespace heed {
namespace {

// As many TBB tasks as workers, each pulling heed tasks from a counter: these
// are few, long and of unequal length (causal tiles), and come longest first,
// an order that TBB's own splitting of the range would lose.
void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                 void (*task)(void* ctx, int64_t i, int worker)) {
  tbb::task_arena& arena = *static_cast<tbb::task_arena*>(self);
  if (arena.max_concurrency() == 1) {
    // Such an arena has two slots all the same, and a second caller would take
    // the one that is no worker of ours.
    for (int64_t i = 0; i < num_tasks; ++i) task(ctx, i, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto pull = [&](int64_t) {
    const int worker = tbb::this_task_arena::current_thread_index();
    for (;;) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= num_tasks) return;
      task(ctx, i, worker);
    }
  };
  // oneTBB throws where it cannot have memory. Then some tasks have not run, by
  // which Run notices.
  try {
    arena.execute([&] {
      // Isolated, so that a worker that waits here never takes another call's
      // task of this arena, which would use the same worker slot.
      tbb::this_task_arena::isolate([&] {
        const int64_t pullers =
            std::min<int64_t>(arena.max_concurrency(), num_tasks);
        tbb::parallel_for(int64_t{0}, pullers, pull, tbb::simple_partitioner());
      });
    });
  } catch (...) {
  }
}

}  // namespace

TbbExecutor::TbbExecutor(int num_threads)
    : arena_(new tbb::task_arena(num_threads > 0 ? num_threads
                                                 : tbb::task_arena::automatic)),
      num_threads_(static_cast<tbb::task_arena*>(arena_)->max_concurrency()) {}

TbbExecutor::~TbbExecutor() { delete static_cast<tbb::task_arena*>(arena_); }

TbbExecutor::operator Executor() const {
  return Executor{arena_, &ParallelFor, num_threads_};
}

}  // namespace heed
