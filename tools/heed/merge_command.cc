// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// heed merge: reads the runs, writes one.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/commands.h"
#include "tools/heed/merge.h"
#include "tools/heed/output_file.h"
#include "tools/heed/results.h"
#include "tools/heed/run_file.h"

namespace heed::tool {

int RunMerge(const Options& options, const std::string& command) {
  if (options.json_path.empty() && options.html_path.empty()) {
    throw io::InputError("merge writes --json FILE or --html FILE, or both");
  }
  CheckOutputPaths({options.json_path, options.html_path}, options.files);
  std::vector<RunFile> runs;
  for (const std::string& path : options.files) runs.push_back(ReadRun(path));
  io::JsonValue merged = MergeRuns(runs);
  merged.Set("command", io::JsonValue::String(command));
  const std::string json = io::JsonText(merged);
  if (!options.json_path.empty()) WriteWhole(options.json_path, json);
  if (!options.html_path.empty()) {
    WriteWhole(options.html_path, ResultsHtml(json));
  }
  if (options.json_path != "-" && options.html_path != "-") {
    const auto counted = [](size_t count, const char* noun) {
      return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
    };
    fmt::print("{} of {}, from {}\n",
               counted(PartOf(merged, "rows").items.size(), "row"),
               counted(runs.size(), "file"),
               counted(CountMachines(merged), "machine"));
  }
  return kFine;
}

}  // namespace heed::tool
