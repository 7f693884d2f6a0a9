// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The status line with its estimate of the time left.
#include "tools/heed/progress_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace heed::tool {
namespace {

// An estimate from less than this share would only be noise.
constexpr double kShareForEstimate = 0.03;
constexpr double kSecondsBetweenRewrites = 0.1;
constexpr double kSecondsBetweenLines = 5;

std::string Clocked(double seconds) {
  const int whole = static_cast<int>(seconds + 0.5);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

size_t TerminalWidth() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) {
    return size.ws_col;
  }
  return 80;
}

}  // namespace

ProgressLine::ProgressLine(bool quiet)
    : quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_() {}

ProgressLine::~ProgressLine() {
  if (shown_ && terminal_) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::Show(const eval::Progress& progress) {
  if (quiet_) return;
  const Clock::time_point now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_).count();
  const double pause =
      terminal_ ? kSecondsBetweenRewrites : kSecondsBetweenLines;
  if (shown_ && since < pause) return;
  shown_ = true;
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  std::string left = "?";
  if (progress.share >= kShareForEstimate) {
    left = "~" + Clocked(elapsed * (1 - progress.share) / progress.share);
  }
  std::string line =
      fmt::format("[{:3.0f}%] elapsed {}, left {}  {}", 100 * progress.share,
                  Clocked(elapsed), left, progress.what);
  if (terminal_) {
    line.resize(std::min(line.size(), TerminalWidth() - 1));
    fmt::print(stderr, "\r{}\x1b[K", line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

}  // namespace heed::tool
