// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A comparison as text: table, JSON, CSV, report.
#ifndef HEED_TOOLS_HEED_RESULTS_H_
#define HEED_TOOLS_HEED_RESULTS_H_

#include <string>

#include "lib/eval/compare.h"
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
  bool synthetic = false;
};

// No line of the narrow table is longer.
inline constexpr size_t kTableWidth = 80;

// Returns the table for a terminal, with the reasons of what did not pass: all
// columns and full names where `wide`.
std::string TableText(const eval::CompareResult& result,
                      const ResultsContext& context, bool wide);

// Returns JSON in the format "heed-compare-1": all numbers, each layer by
// itself, and what was run where. Numbers that do not exist are null.
std::string ResultsJson(const eval::CompareResult& result,
                        const eval::TensorSource& source,
                        const ResultsContext& context);

// Returns a line for each row and layer, and one with layer "all" for each row;
// numbers that do not exist are empty (RFC 4180, without carriage returns).
std::string ResultsCsv(const eval::CompareResult& result);

// Returns the report: one HTML file around the JSON.
std::string ResultsHtml(const std::string& json);

// Returns "ok", "FAILED" or "refused".
const char* GateText(eval::Gate gate);

// Adds the environment as an object; the caller wrote the key.
void WriteEnvironment(const Environment& environment, io::JsonWriter* writer);

// Returns "exact", "exact on selection" or "own reference".
const char* SemanticsText(Semantics semantics);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_RESULTS_H_
