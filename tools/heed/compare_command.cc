// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// heed compare: reads the input, runs the comparison, writes the results.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "heed/ops.h"
#include "heed/target.h"
#include "lib/eval/budget_search.h"
#include "lib/eval/compare.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/length_sweep.h"
#include "lib/eval/tensor_source.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/against.h"
#include "tools/heed/commands.h"
#include "tools/heed/compare_input.h"
#include "tools/heed/compare_run.h"
#include "tools/heed/output_file.h"
#include "tools/heed/results.h"
#include "tools/heed/resume.h"
#include "tools/heed/run_file.h"
#include "tools/heed/threads.h"

namespace heed::tool {
namespace {

// Two outputs to one place would overwrite or mix; what is read stays.
void CheckOutputs(const Options& options) {
  std::vector<std::string> inputs;
  for (const std::string& path : {InputPath(options), options.against}) {
    if (!path.empty()) inputs.push_back(path);
  }
  // The JSON may go back to where it was resumed from, and nothing else may.
  CheckOutputPaths({options.csv_path, options.html_path},
                   options.resume.empty() ? std::vector<std::string>()
                                          : std::vector{options.resume});
  CheckOutputPaths({options.json_path, options.csv_path, options.html_path},
                   inputs);
}

std::string PlanText(const io::Problem& problem) {
  Plan plan;
  if (!MakePlan(problem.params, problem.shape, {}, &plan).ok()) return "";
  std::string text(ExplainPlan(plan, nullptr, 0) + 1, '\0');
  ExplainPlan(plan, text.data(), text.size());
  text.pop_back();
  return text;
}

// Refused before any work.
void CheckSameInput(const RunFile& old, const eval::TensorSource& source) {
  const std::string difference = InputDifference(
      InputOf(old), {eval::IdentifyLayers(source), source.queries});
  if (difference.empty()) return;
  throw io::InputError(io::Quoted(old.path) +
                       " has another input: " + difference);
}

// Compares with an earlier run and puts what changed into the JSON.
Against CompareWithOld(const RunFile& old, std::string* json) {
  RunFile now = ParseRun("this run", *json);
  Against against = CompareRuns(old, now);
  now.tree.Set("against", AgainstJson(against));
  *json = io::JsonText(now.tree);
  return against;
}

void WriteResults(const eval::LengthSweep& sweep, const std::string& json,
                  const ResultsContext& context, const Options& options,
                  const std::optional<Against>& against) {
  if (!options.json_path.empty()) WriteWhole(options.json_path, json);
  if (!options.csv_path.empty()) {
    WriteWhole(options.csv_path, ResultsCsv(sweep, options.by == "head"));
  }
  if (!options.html_path.empty()) {
    WriteWhole(options.html_path, ResultsHtml(json));
  }
  const bool taken = options.json_path == "-" || options.csv_path == "-" ||
                     options.html_path == "-";
  const size_t width = options.wide     ? kWideTable
                       : options.narrow ? kNarrowTable
                                        : kTableWidth;
  if (!taken) {
    if (sweep.lengths.size() > 1) fmt::print("{}\n", SweepText(sweep, width));
    const eval::CompareResult& result = sweep.results.back();
    fmt::print("{}", TableText(result, context, width));
    if (options.by == "layer") {
      fmt::print("\n{}", LayersText(result, width));
    }
    if (options.by == "head") {
      fmt::print("\n{}", HeadsText(result, width));
    }
    if (against)
      fmt::print("\n{}", AgainstText(*against, std::min(width, kTableWidth)));
  }
  if (!options.html_path.empty() && !taken) {
    fmt::print("Report: {}\n", options.html_path);
  }
}

// The run to resume, if it is there: the file that is written may not be yet.
std::optional<RunFile> ReadEarlier(const Options& options) {
  if (options.resume.empty()) return std::nullopt;
  std::error_code error;
  if (SamePlace(options.resume, options.json_path) &&
      !std::filesystem::exists(options.resume, error)) {
    if (!options.quiet) {
      fmt::print(stderr, "heed: note: {} does not exist yet: every row runs\n",
                 io::Quoted(options.resume));
    }
    return std::nullopt;
  }
  return ReadRun(options.resume);
}

void SetContext(const Options& options, const Threads& threads,
                ResultsContext* context) {
  context->environment = ReadEnvironment();
  context->target = DefaultTarget();
  context->threads = threads.executor().max_workers;
  context->threads_asked = options.threads;
  context->thread_library = threads.runtime();
  context->repeats = options.repeats;
  context->seed = options.seed;
  context->synthetic = !options.problem.empty();
  context->row_by_row = options.time_budget || !options.resume.empty();
  context->time_budget = options.time_budget.value_or(0);
}

bool AnyFailed(const eval::LengthSweep& sweep) {
  for (const eval::CompareResult& result : sweep.results) {
    for (const eval::Summary& row : result.rows) {
      if (row.total.gate == eval::Gate::kFailed) return true;
    }
  }
  return false;
}

}  // namespace

int RunCompareCommand(const Options& given, const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  Options options = given;
  if (options.json_path.empty()) options.json_path = options.resume;
  ResultsContext context;
  context.command = command;
  context.time = UtcNow();
  // First: a mistyped name is told before files are read.
  std::vector<eval::Setting> settings = ReadSettings(options);
  const std::vector<int64_t> lengths = ReadLengths(options);
  if (!options.at.empty()) eval::ParseQuality(options.at);
  CheckOutputs(options);
  std::optional<RunFile> old, earlier;
  if (!options.against.empty()) old = ReadRun(options.against);
  earlier = ReadEarlier(options);
  const Threads threads(options.threads);
  SetContext(options, threads, &context);
  // The longest input, so that what is wrong with it shows before any work.
  eval::TensorSource source = ReadSource(options, lengths.back());
  if (old) {
    CheckSameKind(*old, lengths.size() > 1);
    CheckSameInput(*old, source);
  }
  if (earlier) {
    CheckSameInput(*earlier, source);
    CheckSameSetting(*earlier, context);
  }
  WarnOfLayout(source, options);
  CheckCausalForms(settings, source);
  if (settings.empty() && options.at.empty()) {
    settings = eval::DefaultSweep(eval::AllVariants(),
                                  source.layers[0].tensors.problem);
  }
  if (settings.empty()) {
    const io::Problem& problem = source.layers[0].tensors.problem;
    for (const NamedVariant& variant : eval::AllVariants()) {
      if (!CheckServes(variant.variant, problem.params, problem.shape).ok()) {
        continue;
      }
      settings.push_back(eval::DefaultSetting(variant));
    }
  }
  if (!options.at.empty()) {
    SetBudgets(options, source, threads.executor(), &settings, &context);
    if (lengths.size() > 1) context.at_tokens = lengths.back();
  }
  context.plan = PlanText(source.layers[0].tensors.problem);
  const eval::LengthSweep sweep =
      context.row_by_row
          ? RunRowByRow(lengths, settings, options, threads.executor(), source,
                        earlier, start, &context)
          : RunTogether(lengths, settings, options, threads.executor(),
                        &source);
  std::string json = ResultsJson(sweep, source, context);
  std::optional<Against> against;
  if (old) against = CompareWithOld(*old, &json);
  WriteResults(sweep, json, context, options, against);
  if (AnyFailed(sweep)) return kFailedCheck;
  return against && against->Changed() ? kChanged : kFine;
}

}  // namespace heed::tool
