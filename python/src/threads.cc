// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "python/src/threads.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "lib/eval/processors.h"

namespace heed::python {
namespace {

// What GCC's OpenMP offers; looked up, never linked.
struct OpenMp {
  void (*parallel)(void (*body)(void*), void* data, unsigned num_threads,
                   unsigned flags) = nullptr;
  int (*thread_num)() = nullptr;
  int (*max_threads)() = nullptr;
};

const OpenMp& FindOpenMp() {
  static const OpenMp found = [] {
    OpenMp openmp;
    const auto find = [](const char* name, auto* place) {
      *place = reinterpret_cast<std::decay_t<decltype(*place)>>(
          dlsym(RTLD_DEFAULT, name));
      return *place != nullptr;
    };
    const bool all = find("GOMP_parallel", &openmp.parallel) &&
                     find("omp_get_thread_num", &openmp.thread_num) &&
                     find("omp_get_max_threads", &openmp.max_threads);
    return all ? openmp : OpenMp();
  }();
  return found;
}

struct OpenMpJob {
  std::atomic<int64_t> next{0};
  int64_t num_tasks;
  void* ctx;
  void (*task)(void* ctx, int64_t i, int worker);
};

void OpenMpBody(void* data) {
  OpenMpJob& job = *static_cast<OpenMpJob*>(data);
  const int worker = FindOpenMp().thread_num();
  for (int64_t i; (i = job.next.fetch_add(1)) < job.num_tasks;) {
    job.task(job.ctx, i, worker);
  }
}

void OpenMpParallelFor(void* self, int64_t num_tasks, void* ctx,
                       void (*task)(void* ctx, int64_t i, int worker)) {
  const unsigned num_threads =
      static_cast<unsigned>(reinterpret_cast<intptr_t>(self));
  if (num_tasks <= 1 || num_threads == 1) {
    for (int64_t i = 0; i < num_tasks; ++i) task(ctx, i, 0);
    return;
  }
  OpenMpJob job;
  job.num_tasks = num_tasks;
  job.ctx = ctx;
  job.task = task;
  FindOpenMp().parallel(&OpenMpBody, &job, num_threads, 0);
}

// What the process knows of its threads. A child of fork() gets one of its own:
// a lock of the parent's may be held for ever there.
struct State {
  std::mutex mutex;
  int asked = 0;
  bool forked = false;
  int pool_threads = 0;
  std::shared_ptr<eval::ThreadPool> pool;
};

std::atomic<State*> current_state{nullptr};

void AfterForkInChild() {
  const State* parent = current_state.load();
  State* state = new State;
  state->asked = parent->asked;
  state->forked = true;
  current_state.store(state);  // the parent's is left: its threads are gone
}

State& GetState() {
  static const bool registered = [] {
    current_state.store(new State);
    pthread_atfork(nullptr, nullptr, &AfterForkInChild);
    return true;
  }();
  (void)registered;
  return *current_state.load();
}

bool UsesOpenMp(const State& state, bool torch_is_loaded) {
  return torch_is_loaded && !state.forked && FindOpenMp().parallel != nullptr;
}

int NumThreads(const State& state, bool torch_is_loaded) {
  if (state.asked > 0) return state.asked;
  // A child of fork() asks OpenMP for the number alone: torch's loaders set it.
  if (torch_is_loaded && FindOpenMp().max_threads != nullptr) {
    return std::max(1, FindOpenMp().max_threads());
  }
  static const int processors = eval::UsableProcessors();
  return processors;
}

}  // namespace

Threads CurrentThreads(bool torch_is_loaded) {
  State& state = GetState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  const int num_threads = NumThreads(state, torch_is_loaded);
  if (UsesOpenMp(state, torch_is_loaded)) {
    void* self = reinterpret_cast<void*>(static_cast<intptr_t>(num_threads));
    return {Executor{self, &OpenMpParallelFor, num_threads}, nullptr};
  }
  if (state.pool == nullptr || state.pool_threads != num_threads) {
    state.pool = std::make_shared<eval::ThreadPool>(num_threads);
    state.pool_threads = num_threads;
  }
  return {state.pool->executor(), state.pool};
}

void SetNumThreads(int num_threads) {
  State& state = GetState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.asked = num_threads;
}

const char* ThreadsRuntime(bool torch_is_loaded) {
  State& state = GetState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  return UsesOpenMp(state, torch_is_loaded) ? "OpenMP" : "own";
}

}  // namespace heed::python
