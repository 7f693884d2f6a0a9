// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line as a struct.
#ifndef HEED_TOOLS_HEED_OPTIONS_H_
#define HEED_TOOLS_HEED_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace heed::tool {

enum class Command { kNone, kInfo, kVariants, kCompare };

struct Options {
  Command command = Command::kNone;
  bool json = false;  // info and variants: JSON instead of text

  // compare
  std::vector<std::string> variants;  // as ParseSettings reads them
  std::string input;                  // empty: the built-in sample
  std::string problem;                // empty: tensors from a file
  std::vector<int64_t> layers;
  int64_t tokens = 0;
  std::string layout = "bshd";
  std::optional<bool> causal;
  int threads = 0;  // 0: all processors
  uint64_t seed = 1;
  int repeats = 5;
  bool quiet = false;
  std::string json_path, csv_path, html_path;
};

// Reads the command line. Returns true where there is something to do; else
// *exit_code says how to end: help was printed (0), or one sentence about what
// is wrong (2).
bool ParseOptions(int argc, char** argv, Options* options, int* exit_code);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_OPTIONS_H_
