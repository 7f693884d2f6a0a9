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

#include "heed/target.h"
#include "lib/eval/budget_search.h"
#include "lib/eval/compare.h"
#include "lib/eval/cut_layer.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/length_sweep.h"
#include "lib/eval/tensor_source.h"
#include "lib/io/input_error.h"
#include "lib/io/number_list.h"
#include "lib/io/quoted.h"
#include "tools/heed/against.h"
#include "tools/heed/commands.h"
#include "tools/heed/output_file.h"
#include "tools/heed/progress_line.h"
#include "tools/heed/results.h"
#include "tools/heed/resume.h"
#include "tools/heed/run_file.h"
#include "tools/heed/sample.h"
#include "tools/heed/threads.h"

namespace heed::tool {
namespace {

std::string InputPath(const Options& options) {
  if (!options.problem.empty()) return "";
  return options.input.empty() ? FindSample() : options.input;
}

// The lengths to compare at, rising; 0 is the whole input. Ranges double.
std::vector<int64_t> ReadLengths(const Options& options) {
  if (options.tokens.empty()) return {0};
  constexpr int64_t kMost = int64_t{1} << 31;
  std::vector<int64_t> lengths;
  for (const io::NumberRange& range :
       io::ParseNumberList(options.tokens, "--tokens")) {
    if (range.first < 1 || range.last > kMost) {
      throw io::InputError("--tokens needs numbers in [1, " +
                           std::to_string(kMost) + "], not " +
                           FormatRange(range));
    }
    for (int64_t length = range.first; length <= range.last; length *= 2) {
      lengths.push_back(length);
    }
  }
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

// The problem at another length of queries and keys alike.
std::string ProblemOfLength(const std::string& text, int64_t length) {
  io::Problem problem;
  const std::string error = io::ParseProblem(text, &problem);
  if (!error.empty()) throw io::InputError(error);
  AttentionShape& shape = problem.shape;
  if (shape.seqlen_q != shape.seqlen_k) {
    throw io::InputError("problem '" + text + "' has " +
                         std::to_string(shape.seqlen_q) + " queries of " +
                         std::to_string(shape.seqlen_k) +
                         " keys, and --tokens sets both");
  }
  shape.seqlen_q = shape.seqlen_k = length;
  return FormatProblem(problem);
}

eval::TensorSource ReadWhole(const Options& options, int64_t length) {
  const eval::Layout layout =
      options.layout == "bhsd" ? eval::Layout::kBhsd : eval::Layout::kBshd;
  if (!options.problem.empty()) {
    eval::WorkloadOptions workload;
    workload.layout = layout;
    workload.seed = options.seed;
    return eval::MakeSynthetic(length == 0
                                   ? options.problem
                                   : ProblemOfLength(options.problem, length),
                               workload);
  }
  eval::CaptureOptions capture;
  capture.layout = layout;
  if (!options.layers.empty()) {
    capture.layers = io::ParseNumberList(options.layers, "--layers");
  }
  if (!options.heads.empty()) {
    capture.heads = io::ParseNumberList(options.heads, "--heads");
  }
  capture.tokens = length;
  capture.params = options.params;
  return eval::LoadCapture(InputPath(options), capture);
}

eval::TensorSource ReadSource(const Options& options, int64_t length) {
  eval::TensorSource source = ReadWhole(options, length);
  if (options.queries > 0) eval::DecodeLast(options.queries, &source);
  return source;
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

// A file of [heads, seqlen, ...] read as [seqlen, heads, ...] often fits too.
void WarnOfLayout(const eval::TensorSource& source, const Options& options) {
  const AttentionShape& shape = source.layers[0].tensors.problem.shape;
  if (options.problem.empty() && options.queries == 0 &&
      shape.num_heads > 4 * shape.seqlen_q && shape.num_heads > 64) {
    fmt::print(stderr, "heed: note: {} heads of {} rows; is the layout {}?\n",
               shape.num_heads, shape.seqlen_q,
               options.layout == "bhsd" ? "bshd" : "bhsd");
  }
}

// Puts the budgets that reach the quality asked for into the settings.
void SetBudgets(const Options& options, const eval::TensorSource& source,
                const Executor& executor, std::vector<eval::Setting>* settings,
                ResultsContext* context) {
  const eval::Quality quality = eval::ParseQuality(options.at);
  eval::CompareOptions compare;
  compare.executor = executor;
  ProgressLine line(options.quiet);
  eval::BudgetSearch search = eval::SearchBudgets(
      source, *settings, quality, compare,
      [&](const eval::Progress& progress) { line.Show(progress); });
  *settings = std::move(search.settings);
  context->at = FormatQuality(quality);
  context->missed = std::move(search.missed);
}

// Compares at every length, the longest last, whose input stays.
eval::LengthSweep Compute(const std::vector<int64_t>& lengths,
                          const std::vector<eval::Setting>& settings,
                          const Options& options, const Executor& executor,
                          eval::TensorSource* source) {
  eval::CompareOptions compare;
  compare.executor = executor;
  compare.repeats = options.repeats;
  eval::LengthSweep sweep;
  sweep.lengths = lengths;
  ProgressLine line(options.quiet);
  double total = 0, done = 0;  // exact attention's work
  const auto work = [](int64_t length) {
    return std::max(1.0, static_cast<double>(length)) *
           std::max(1.0, static_cast<double>(length));
  };
  for (const int64_t length : lengths) total += work(length);
  for (const int64_t length : lengths) {
    *source = ReadSource(options, length);
    sweep.results.push_back(eval::RunCompare(
        *source, settings, compare, [&](const eval::Progress& progress) {
          eval::Progress all = progress;
          all.share = (done + progress.share * work(length)) / total;
          if (lengths.size() > 1) {
            all.what += " at " + std::to_string(length) + " tokens";
          }
          line.Show(all);
        }));
    done += work(length);
  }
  return sweep;
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

// Rows that are not all known at once have no place in a sweep of lengths.
void CheckRowByRow(const Options& options,
                   const std::vector<int64_t>& lengths) {
  const char* option = !options.resume.empty() ? "--resume"
                       : options.time_budget   ? "--time-budget"
                                               : nullptr;
  if (option == nullptr || lengths.size() == 1) return;
  throw io::InputError(fmt::format("{} needs one length, and --tokens names {}",
                                   option, lengths.size()));
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

// Takes the rows that are there and runs the others, writing after each.
eval::LengthSweep ComputeRows(const std::vector<int64_t>& lengths,
                              const std::vector<eval::Setting>& settings,
                              const Options& options, const Executor& executor,
                              const eval::TensorSource& source,
                              const std::optional<RunFile>& earlier,
                              std::chrono::steady_clock::time_point start,
                              ResultsContext* context) {
  eval::CompareOptions compare;
  compare.executor = executor;
  compare.repeats = options.repeats;
  eval::LengthSweep sweep;
  sweep.lengths = lengths;
  sweep.results.emplace_back();
  if (earlier) {
    const double batch =
        static_cast<double>(source.layers[0].tensors.problem.shape.batch);
    sweep.results[0] =
        ResultOf(*earlier, static_cast<double>(source.queries) * batch);
  }
  ProgressLine line(options.quiet);
  RowByRow hooks;
  hooks.time_is_left = [&] {
    const std::chrono::duration<double> spent =
        std::chrono::steady_clock::now() - start;
    return !options.time_budget || spent.count() < *options.time_budget;
  };
  hooks.after_row = [&](const eval::CompareResult& result,
                        const std::vector<std::string>& left) {
    if (options.json_path.empty() || options.json_path == "-") return;
    ResultsContext interim = *context;
    interim.left_out = left;
    WriteWhole(options.json_path,
               ResultsJson({sweep.lengths, {result}}, source, interim));
  };
  context->left_out = RunRows(
      source, settings, compare, hooks,
      [&](const eval::Progress& progress) { line.Show(progress); },
      &sweep.results[0]);
  return sweep;
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
  CheckRowByRow(options, lengths);
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
  if (settings.empty() && options.at.empty()) {
    settings = eval::DefaultSweep(eval::AllVariants(),
                                  source.layers[0].tensors.problem);
  }
  if (settings.empty()) {
    for (const NamedVariant& variant : eval::AllVariants()) {
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
          ? ComputeRows(lengths, settings, options, threads.executor(), source,
                        earlier, start, &context)
          : Compute(lengths, settings, options, threads.executor(), &source);
  std::string json = ResultsJson(sweep, source, context);
  std::optional<Against> against;
  if (old) against = CompareWithOld(*old, &json);
  WriteResults(sweep, json, context, options, against);
  if (AnyFailed(sweep)) return kFailedCheck;
  return against && against->Changed() ? kChanged : kFine;
}

}  // namespace heed::tool
