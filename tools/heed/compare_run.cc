// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rounds, progress, and files on the way.
#include "tools/heed/compare_run.h"

#include <algorithm>
#include <string>
#include <utility>

#include "lib/eval/budget_search.h"
#include "lib/eval/compare.h"
#include "tools/heed/compare_input.h"
#include "tools/heed/output_file.h"
#include "tools/heed/progress_line.h"
#include "tools/heed/resume.h"

namespace heed::tool {

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

eval::LengthSweep RunTogether(const std::vector<int64_t>& lengths,
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

eval::LengthSweep RunRowByRow(const std::vector<int64_t>& lengths,
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
  sweep.results.resize(lengths.size());
  if (earlier) {
    const double batch =
        static_cast<double>(source.layers[0].tensors.problem.shape.batch);
    sweep =
        SweepOf(*earlier, lengths, static_cast<double>(source.queries) * batch);
  }
  // The truths of all lengths are held at once, and so are the inputs.
  std::vector<eval::TensorSource> sources;
  for (size_t l = 0; l + 1 < lengths.size(); ++l) {
    sources.push_back(ReadSource(options, lengths[l]));
  }
  sources.push_back(source);
  ProgressLine line(options.quiet);
  RowByRow hooks;
  hooks.time_is_left = [&] {
    const std::chrono::duration<double> spent =
        std::chrono::steady_clock::now() - start;
    return !options.time_budget || spent.count() < *options.time_budget;
  };
  hooks.after_row = [&](const eval::LengthSweep& now,
                        const std::vector<std::string>& left) {
    if (options.json_path.empty() || options.json_path == "-") return;
    ResultsContext interim = *context;
    interim.left_out = left;
    WriteWhole(options.json_path, ResultsJson(now, source, interim));
  };
  context->left_out = RunRows(
      sources, settings, compare, hooks,
      [&](const eval::Progress& progress) { line.Show(progress); }, &sweep);
  return sweep;
}

}  // namespace heed::tool
