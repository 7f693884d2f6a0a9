// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs the library for a test.
#ifndef HEED_TESTS_SUPPORT_RUN_H_
#define HEED_TESTS_SUPPORT_RUN_H_

#include <cstddef>
#include <string>
#include <vector>

#include "heed/attention.h"
#include "heed/executor.h"
#include "lib/io/problem.h"

namespace heed::test {

// Memory for a run: aligned as the library asks, exactly as large as it asks,
// and filled with NaNs, because its contents are never to be read.
class WorkspaceBuffer {
 public:
  explicit WorkspaceBuffer(size_t bytes);
  Workspace get() const { return workspace_; }
  // True where nothing behind the workspace was written.
  bool TailIntact() const;

 private:
  std::vector<unsigned char> memory_;
  Workspace workspace_;
};

// How a test runs a problem.
struct RunConfig {
  std::string target;
  int lane_groups = 0;
  int workers = 1;  // more: ThreadExecutor
  int decode_rows = -1;
  // Most tests compare bits with the page that defines those of kSame.
  Numerics numerics = Numerics::kSame;
  const char* unit = nullptr;
  std::string Text() const;
};

// Plans for exactly these extents and runs on `executor`.
Status RunOn(const RunConfig& config, const AttentionParams& params,
             const AttentionArgs& args, const Executor& executor);
// The same on config.workers threads.
Status RunOn(const RunConfig& config, const AttentionParams& params,
             const AttentionArgs& args);

// Reads a problem string that is known to be sound.
io::Problem ProblemOf(const std::string& text);

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_RUN_H_
