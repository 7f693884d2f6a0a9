// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A comparison as text: table, JSON, CSV, report.
#ifndef HEED_TOOLS_HEED_RESULTS_H_
#define HEED_TOOLS_HEED_RESULTS_H_

#include <string>
#include <vector>

#include "lib/eval/compare.h"
#include "lib/eval/length_sweep.h"
#include "lib/eval/tensor_source.h"
#include "lib/io/json.h"
#include "tools/heed/environment.h"

namespace heed::tool {

// Everything that a reader needs to redo a comparison.
struct ResultsContext {
  Environment environment;
  std::string command;  // the command line
  std::string time;     // when it began, UTC
  std::string target;   // the kernel table
  std::string plan;     // the exact kernel's plan for the first layer, as text
  std::string thread_library;
  int threads = 1;        // that ran
  int threads_asked = 0;  // 0: as many as there are
  int repeats = 0;
  uint64_t seed = 0;
  std::string at;  // the quality whose budgets were searched; "" for none
  int64_t at_tokens =
      0;  // the length of the search; 0 where it is the only one
  std::vector<eval::Setting> missed;  // that no budget brings to it
  bool synthetic = false;
  bool row_by_row = false;  // each row beside exact, in rounds of its own
  double time_budget = 0;   // seconds; 0: none
  std::vector<std::string> left_out;  // names of rows for which it was spent
};

// Widths of tables: no line of the first two is longer; the last has all
// columns and full names.
inline constexpr size_t kTableWidth = 80;
inline constexpr size_t kNarrowTable = 40;
inline constexpr size_t kWideTable = static_cast<size_t>(-1);

// Returns the table for a terminal, with the reasons of what did not pass.
std::string TableText(const eval::CompareResult& result,
                      const ResultsContext& context, size_t width);

// Returns a table like it with a row for each layer.
std::string LayersText(const eval::CompareResult& result, size_t width);

// Returns a table of the heads on which each setting does worst, or of all
// in a wide table.
std::string HeadsText(const eval::CompareResult& result, size_t width);

// Returns the times of a sweep of lengths, how they grow and from where each
// row pays (a narrow table without the interval), in tables of at most
// kTableWidth.
std::string SweepText(const eval::LengthSweep& sweep, size_t width);

// Adds the sweep of lengths as an object; the caller wrote the key.
void WriteSweep(const eval::LengthSweep& sweep, io::JsonWriter* writer);

// Returns JSON in the format "heed-compare-1": all numbers at the longest
// length, each layer by itself, what was run where, and the sweep where there
// are several lengths; of a sweep that ran row by row the shorter lengths as
// whole as the longest, so that it can be resumed. Numbers that do not exist
// are null.
std::string ResultsJson(const eval::LengthSweep& sweep,
                        const eval::TensorSource& source,
                        const ResultsContext& context);

// Returns a line for each length, row and layer, and one with layer "all" for
// each row; numbers that do not exist are empty (RFC 4180, without carriage
// returns). Growth and efficiency length stand in the "all" lines of the
// longest length: 0 for a row that pays from the first length on, inf for one
// that does not up to the last. Where `heads`, each head has a line too.
std::string ResultsCsv(const eval::LengthSweep& sweep, bool heads);

// Returns the report: one HTML file around the JSON.
std::string ResultsHtml(const std::string& json);

// Returns "ok", "FAILED" or "refused".
const char* GateText(eval::Gate gate);

// Adds the environment as an object; the caller wrote the key.
void WriteEnvironment(const Environment& environment, io::JsonWriter* writer);

// Adds the members "environment" and "run" to an object: where and how it ran.
void WriteContext(const ResultsContext& context, int64_t queries,
                  io::JsonWriter* writer);

// Returns "exact", "exact on selection" or "own reference".
const char* SemanticsText(Semantics semantics);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_RESULTS_H_
