// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The oneTBB executor: the only file that includes oneTBB.
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

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

// A node's only thread: the caller's, bound while it is in the arena.
void ParallelForBound(void* self, int64_t num_tasks, void* ctx,
                      void (*task)(void* ctx, int64_t i, int worker)) {
  tbb::task_arena& arena = *static_cast<tbb::task_arena*>(self);
  try {
    arena.execute([&] {
      for (int64_t i = 0; i < num_tasks; ++i) task(ctx, i, 0);
    });
  } catch (...) {
  }
}

// An arena that asks for more threads than oneTBB will start makes it print a
// warning, and has worker slots, with their scratch, that no thread ever takes.
int Threads(int num_threads) {
  if (num_threads <= 0) return tbb::task_arena::automatic;
  const size_t most = tbb::global_control::active_value(
      tbb::global_control::max_allowed_parallelism);
  return static_cast<int>(
      std::min<size_t>(static_cast<size_t>(num_threads), most));
}

}  // namespace

TbbExecutor::TbbExecutor(int num_threads)
    : arena_(new tbb::task_arena(Threads(num_threads))),
      num_threads_(static_cast<tbb::task_arena*>(arena_)->max_concurrency()) {}

TbbExecutor::TbbExecutor(int num_threads, int numa_node)
    : arena_(nullptr), num_threads_(0), bound_(true) {
  const std::vector<tbb::numa_node_id> nodes = tbb::info::numa_nodes();
  if (numa_node < 0 || numa_node >= static_cast<int>(nodes.size())) return;
  auto* const arena = new tbb::task_arena(
      tbb::task_arena::constraints()
          .set_numa_id(nodes[static_cast<size_t>(numa_node)])
          .set_max_concurrency(Threads(num_threads)));
  arena_ = arena;
  num_threads_ = arena->max_concurrency();
}

TbbExecutor::~TbbExecutor() { delete static_cast<tbb::task_arena*>(arena_); }

TbbExecutor::operator Executor() const {
  const bool alone = bound_ && num_threads_ == 1;
  return Executor{arena_, alone ? &ParallelForBound : &ParallelFor,
                  num_threads_};
}

int NumNumaNodes() { return static_cast<int>(tbb::info::numa_nodes().size()); }

}  // namespace heed
