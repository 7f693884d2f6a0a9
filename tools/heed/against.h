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

// One number of one row that is not what it was.
struct Change {
  std::string row;     // its name
  int64_t tokens = 0;  // of a sweep of lengths; 0 without one
  std::string number;  // its place in the row, such as "layers[0].rel_l2"
  io::JsonValue was, now;
};

// A row of which no times are compared, and why.
struct Untimed {
  std::string row;
  int64_t tokens = 0;
  std::string reason;
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
  std::vector<Untimed> untimed;  // of these, those whose times say nothing

  // Whether anything is not what it was; a row that is new is no change.
  bool Changed() const { return !changes.empty() || !only_old.empty(); }
};

// Returns what changed. Times of whole rows change where TimesDiffer says so;
// those of fewer than kFewestRounds, or noisy, are not compared. Other numbers
// change where they differ, or by more than kQualityRounding from one machine
// to another: those of rows, layers, heads and row_rel_l2, each told where
// QualityChanges sees it first. In a sweep of lengths, the shorter ones have
// rows alone. Throws InputError where the inputs differ, or nothing can be
// compared.
Against CompareRuns(const RunFile& old, const RunFile& now);

// Throws InputError where only one of the runs is a sweep of lengths.
void CheckSameKind(const RunFile& old, bool sweep);

// Returns the runs' MachineDifferences in words, or "".
std::string MachineDifference(const RunFile& old, const RunFile& now);

// Returns it for a terminal.
std::string AgainstText(const Against& against, size_t width);

io::JsonValue AgainstJson(const Against& against);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_AGAINST_H_
