// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line as a struct.
#ifndef HEED_TOOLS_HEED_OPTIONS_H_
#define HEED_TOOLS_HEED_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/eval/capture_params.h"

namespace heed::tool {

enum class Command { kNone, kInfo, kVariants, kCompare, kMerge };

struct Options {
  Command command = Command::kNone;
  bool json = false;  // info and variants: JSON instead of text

  // compare
  std::vector<std::string> variants;  // as ParseSettings reads them
  std::string input;                  // empty: the built-in sample
  std::string problem;                // empty: tensors from a file
  // As io::ParseNumberList reads them.
  std::string layers, heads, tokens;
  int64_t queries = 0;  // decoded one by one; 0: none
  std::string layout = "bshd";
  eval::CaptureParams params;
  std::string at;              // as eval::ParseQuality reads it; empty: none
  std::string by = "variant";  // "layer", "head": what tables have rows of
  bool wide = false, narrow = false;
  int threads = 0;  // 0: all processors
  uint64_t seed = 1;
  int repeats = 5;
  bool quiet = false;
  std::string json_path, csv_path, html_path;
  std::vector<std::string> files;  // of merge
  std::string resume;              // a JSON whose rows are taken; empty: none
  std::optional<double> time_budget;  // seconds
  std::string against;                // an earlier run's JSON; empty: none
};

// Reads the command line. Returns true where there is something to do; else
// *exit_code says how to end: help was printed (0), or one sentence about what
// is wrong (2).
bool ParseOptions(int argc, char** argv, Options* options, int* exit_code);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_OPTIONS_H_
