// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/parallel.h"

#include <atomic>

namespace heed::internal {
namespace {

struct Context {
  void* ctx;
  void (*task)(void* ctx, int64_t i, int worker);
  int64_t num_tasks;
  int workers;
  std::atomic<int64_t> done{0};
  std::atomic<uint64_t> marks{0};  // the sum of Mark(i)
};

// Marks of different tasks add up differently, but for a chance in 2^64: so a
// task that ran in another's place is noticed (the finaliser of MurmurHash3).
uint64_t Mark(int64_t i) {
  uint64_t mark = static_cast<uint64_t>(i) + 1;
  mark = (mark ^ mark >> 33) * 0xff51afd7ed558ccdu;
  mark = (mark ^ mark >> 33) * 0xc4ceb9fe1a85ec53u;
  return mark ^ mark >> 33;
}

void RunCounted(void* ctx, int64_t i, int worker) {
  Context& context = *static_cast<Context*>(ctx);
  if (i < 0 || i >= context.num_tasks || worker < 0 ||
      worker >= context.workers) {
    return;  // missed in the count below
  }
  context.task(context.ctx, i, worker);
  context.done.fetch_add(1, std::memory_order_relaxed);
  context.marks.fetch_add(Mark(i), std::memory_order_relaxed);
}

}  // namespace

Status ParallelFor(const Executor& executor, int64_t num_tasks, int workers,
                   void* ctx, void (*task)(void* ctx, int64_t i, int worker)) {
  if (num_tasks <= 1) {
    // Not worth waking anyone.
    if (num_tasks == 1) task(ctx, 0, 0);
    return Status();
  }
  Context context;
  context.ctx = ctx;
  context.task = task;
  context.num_tasks = num_tasks;
  context.workers = workers;
  executor.parallel_for(executor.self, num_tasks, &context, &RunCounted);
  const int64_t done = context.done.load(std::memory_order_relaxed);
  uint64_t marks = context.marks.load(std::memory_order_relaxed);
  for (int64_t i = 0; i < num_tasks; ++i) marks -= Mark(i);
  if (done == num_tasks && marks == 0) return Status();
  return Status(StatusCode::kInternal, "executor",
                "dropped or repeated tasks, or gave a worker that does not "
                "exist")
      .WithValue(done)
      .WithBound(num_tasks, BoundKind::kOf)
      .WithUnit("tasks");
}

}  // namespace heed::internal
