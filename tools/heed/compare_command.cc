// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// heed compare: reads the input, runs the comparison, writes the results.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "heed/target.h"
#include "lib/eval/compare.h"
#include "lib/eval/cut_layer.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/tensor_source.h"
#include "lib/io/input_error.h"
#include "tools/heed/commands.h"
#include "tools/heed/output_file.h"
#include "tools/heed/progress_line.h"
#include "tools/heed/results.h"
#include "tools/heed/sample.h"
#include "tools/heed/threads.h"

namespace heed::tool {
namespace {

std::string InputPath(const Options& options) {
  if (!options.problem.empty()) return "";
  return options.input.empty() ? FindSample() : options.input;
}

eval::TensorSource ReadSource(const Options& options) {
  const eval::Layout layout =
      options.layout == "bhsd" ? eval::Layout::kBhsd : eval::Layout::kBshd;
  if (!options.problem.empty()) {
    eval::WorkloadOptions workload;
    workload.layout = layout;
    workload.seed = options.seed;
    return eval::MakeSynthetic(options.problem, workload);
  }
  eval::CaptureOptions capture;
  capture.layout = layout;
  if (!options.layers.empty()) {
    capture.layers = io::ParseNumberList(options.layers, "--layers");
  }
  if (!options.heads.empty()) {
    capture.heads = io::ParseNumberList(options.heads, "--heads");
  }
  capture.tokens = options.tokens;
  capture.params = options.params;
  return eval::LoadCapture(InputPath(options), capture);
}

std::vector<eval::Setting> ReadSettings(const Options& options) {
  const std::vector<NamedVariant> variants = eval::AllVariants();
  std::vector<eval::Setting> settings;
  for (const std::string& text : options.variants) {
    const auto parsed = eval::ParseSettings(text, variants);
    settings.insert(settings.end(), parsed.begin(), parsed.end());
  }
  return settings;
}

// Two outputs to one place would overwrite or mix; the input stays.
void CheckOutputs(const Options& options) {
  const std::string input = InputPath(options);
  std::vector<std::string> paths;
  for (const std::string& path :
       {options.json_path, options.csv_path, options.html_path}) {
    if (path.empty()) continue;
    for (const std::string& other : paths) {
      if (!SamePlace(path, other)) continue;
      throw io::InputError("'" + other + "' and '" + path +
                           "' are one place for two outputs");
    }
    if (!input.empty() && SamePlace(path, input)) {
      throw io::InputError("'" + path + "' is the input");
    }
    CheckWritable(path);
    paths.push_back(path);
  }
}

std::string PlanText(const io::Problem& problem) {
  Plan plan;
  if (!MakePlan(problem.params, problem.shape, {}, &plan).ok()) return "";
  std::string text(ExplainPlan(plan, nullptr, 0) + 1, '\0');
  ExplainPlan(plan, text.data(), text.size());
  text.pop_back();
  return text;
}

// A file of [heads, seqlen, ...] read as [seqlen, heads, ...] often fits too.
void WarnOfLayout(const eval::TensorSource& source, const Options& options) {
  const AttentionShape& shape = source.layers[0].tensors.problem.shape;
  if (options.problem.empty() && shape.num_heads > 4 * shape.seqlen_q &&
      shape.num_heads > 64) {
    fmt::print(stderr, "heed: note: {} heads of {} rows; is the layout {}?\n",
               shape.num_heads, shape.seqlen_q,
               options.layout == "bhsd" ? "bshd" : "bhsd");
  }
}

eval::CompareResult Compute(const eval::TensorSource& source,
                            std::vector<eval::Setting> settings,
                            const Options& options, const Executor& executor) {
  if (settings.empty()) {
    settings = eval::DefaultSweep(eval::AllVariants(),
                                  source.layers[0].tensors.problem);
  }
  eval::CompareOptions compare;
  compare.executor = executor;
  compare.repeats = options.repeats;
  ProgressLine line(options.quiet);
  return eval::RunCompare(
      source, std::move(settings), compare,
      [&line](const eval::Progress& progress) { line.Show(progress); });
}

void WriteResults(const eval::CompareResult& result,
                  const eval::TensorSource& source,
                  const ResultsContext& context, const Options& options) {
  const std::string json = ResultsJson(result, source, context);
  if (!options.json_path.empty()) WriteWhole(options.json_path, json);
  if (!options.csv_path.empty()) {
    WriteWhole(options.csv_path, ResultsCsv(result));
  }
  if (!options.html_path.empty()) {
    WriteWhole(options.html_path, ResultsHtml(json));
  }
  const bool taken = options.json_path == "-" || options.csv_path == "-" ||
                     options.html_path == "-";
  if (!taken) fmt::print("{}", TableText(result, context, options.wide));
  if (!options.html_path.empty() && !taken) {
    fmt::print("Report: {}\n", options.html_path);
  }
}

}  // namespace

int RunCompareCommand(const Options& options, const std::string& command) {
  ResultsContext context;
  context.command = command;
  context.time = UtcNow();
  // First: a mistyped name is told before files are read.
  const std::vector<eval::Setting> settings = ReadSettings(options);
  CheckOutputs(options);
  const Threads threads(options.threads);
  eval::TensorSource source = ReadSource(options);
  WarnOfLayout(source, options);
  if (options.queries > 0) eval::DecodeLast(options.queries, &source);
  const eval::CompareResult result =
      Compute(source, settings, options, threads.executor());
  context.environment = ReadEnvironment();
  context.target = DefaultTarget();
  context.plan = PlanText(source.layers[0].tensors.problem);
  context.threads = threads.executor().max_workers;
  context.threads_asked = options.threads;
  context.thread_library = threads.runtime();
  context.repeats = options.repeats;
  context.seed = options.seed;
  context.synthetic = !options.problem.empty();
  WriteResults(result, source, context, options);
  const bool failed = std::any_of(
      result.rows.begin(), result.rows.end(), [](const eval::Summary& row) {
        return row.total.gate == eval::Gate::kFailed;
      });
  return failed ? 1 : 0;
}

}  // namespace heed::tool
