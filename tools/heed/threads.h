// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The tool's threads: oneTBB's where the build has heed::tbb, else a pool of
// its own. The build picks threads_tbb.cc or threads_own.cc.
#ifndef HEED_TOOLS_HEED_THREADS_H_
#define HEED_TOOLS_HEED_THREADS_H_

#include <memory>

#include "heed/executor.h"

namespace heed::tool {

class Threads {
 public:
  // 0 takes all processors that this process may run on.
  explicit Threads(int count);
  ~Threads();

  // Valid as long as this object.
  Executor executor() const;
  const char* runtime() const;  // "oneTBB", "own"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_THREADS_H_
