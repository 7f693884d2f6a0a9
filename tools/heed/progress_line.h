// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Progress on standard error: one line that is rewritten on a terminal, a line
// now and then elsewhere.
#ifndef HEED_TOOLS_HEED_PROGRESS_LINE_H_
#define HEED_TOOLS_HEED_PROGRESS_LINE_H_

#include <chrono>

#include "lib/eval/compare.h"

namespace heed::tool {

class ProgressLine {
 public:
  explicit ProgressLine(bool quiet);
  ~ProgressLine();  // clears the line

  void Show(const eval::Progress& progress);

 private:
  using Clock = std::chrono::steady_clock;
  bool quiet_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_PROGRESS_LINE_H_
