// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Threads by oneTBB.
#include "heed/tbb.h"
#include "lib/eval/processors.h"
#include "tools/heed/threads.h"

namespace heed::tool {

struct Threads::State {
  explicit State(int count) : executor(count) {}
  TbbExecutor executor;
};

Threads::Threads(int count)
    : state_(new State(count > 0 ? count : eval::UsableProcessors())) {}
Threads::~Threads() = default;

Executor Threads::executor() const { return state_->executor; }
const char* Threads::runtime() const { return "oneTBB"; }

}  // namespace heed::tool
