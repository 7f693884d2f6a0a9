// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// No threads.
#include "lib/io/input_error.h"
#include "tools/heed/threads.h"

namespace heed::tool {

struct Threads::State {};

Threads::Threads(int count) {
  if (count > 1) {
    throw io::InputError(
        "this build has no threads; build with -DHEED_TBB=ON for --threads");
  }
}
Threads::~Threads() = default;

Executor Threads::executor() const { return SerialExecutor(); }
const char* Threads::runtime() const { return "none"; }

}  // namespace heed::tool
