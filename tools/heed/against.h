// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Two runs of the same input: what changed beyond noise.
#ifndef HEED_TOOLS_HEED_AGAINST_H_
#define HEED_TOOLS_HEED_AGAINST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/io/json_value.h"
#include "tools/heed/run_file.h"

namespace heed::tool {

// The numbers of errors are sums in double, whose order may follow the CPU:
// between environments they agree to this share of themselves.
inline constexpr double kQualityRounding = 1e-6;

// Whether two numbers are equal, or both NaN, or differ by no more than this
// share of the larger.
bool SameQuality(double was, double now, double rounding);

// One number of one row that is not what it was.
struct Change {
  std::string row;     // its name
  int64_t tokens = 0;  // of a sweep of lengths; 0 without one
  std::string number;  // its key, or "gate"
  io::JsonValue was, now;
};

struct Against {
  std::string path, began;  // of the old run
  // Why times, and workspace where `same_machine` is false, are not compared;
  // empty: they are.
  std::string no_times;
  bool same_machine = false;
  std::string versions;  // "0.1.0, now 0.2.0"; empty where they are equal
  std::vector<Change> changes;
  std::vector<std::string> only_old, only_now;  // rows, in their order
  int64_t compared = 0;                         // rows in both
  int64_t untimed = 0;  // of these, those without a time or spread to compare
};

// Returns what changed. Times change where they differ by more than both
// spreads; what one round measured has none and is not compared. Other numbers
// change where they differ, or by more than kQualityRounding from one machine
// to another. Throws InputError where the inputs differ.
Against CompareRuns(const RunFile& old, const RunFile& now);

// Returns the environments' difference in CPU, threads or kernel table, or "".
std::string MachineDifference(const RunFile& old, const RunFile& now);

// Returns it for a terminal.
std::string AgainstText(const Against& against, size_t width);

io::JsonValue AgainstJson(const Against& against);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_AGAINST_H_
