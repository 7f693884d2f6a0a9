// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Threads of the tool's own, where the build has no oneTBB.
#include "lib/eval/processors.h"
#include "lib/eval/thread_pool.h"
#include "tools/heed/threads.h"

namespace heed::tool {

struct Threads::State {
  explicit State(int count) : pool(count) {}
  eval::ThreadPool pool;
};

Threads::Threads(int count)
    : state_(std::make_unique<State>(count == 0 ? eval::UsableProcessors()
                                                : count)) {}
Threads::~Threads() = default;

Executor Threads::executor() const { return state_->pool.executor(); }
const char* Threads::runtime() const { return "own"; }

}  // namespace heed::tool
