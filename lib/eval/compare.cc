// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The loop over calls: truth, gates, then interleaved timing.
#include "lib/eval/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "lib/eval/call_run.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/summarise.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::eval {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool IsBaseline(const Setting& setting) {
  return std::string_view(setting.variant.name) == "exact";
}

void PutBaselineFirst(std::vector<Setting>* settings) {
  const auto it = std::find_if(settings->begin(), settings->end(), IsBaseline);
  if (it != settings->end()) {
    std::rotate(settings->begin(), it, it + 1);
    return;
  }
  for (const NamedVariant& variant : AllVariants()) {
    const Setting setting = DefaultSetting(variant);
    if (!IsBaseline(setting)) continue;
    settings->insert(settings->begin(), setting);
    return;
  }
  throw io::InputError("this build has no variant 'exact' to compare with");
}

// Two settings that are the same would share a name and a row.
void DropRepeated(std::vector<Setting>* settings) {
  std::vector<std::string> seen;
  const auto repeated = [&](const Setting& setting) {
    const std::string name = FormatSetting(setting);
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) return true;
    seen.push_back(name);
    return false;
  };
  settings->erase(std::remove_if(settings->begin(), settings->end(), repeated),
                  settings->end());
}

// Shares progress out by cost: a check counts as one run and the oracle's work.
class Steps {
 public:
  Steps(const ProgressFunction& progress, double total)
      : progress_(progress), total_(total) {}
  void Start(const std::string& what) const {
    if (progress_) progress_({std::min(1.0, done_ / total_), what});
  }
  void Done(double amount) { done_ += amount; }
  void Expect(double total) { total_ = total; }

 private:
  const ProgressFunction& progress_;
  double total_;
  double done_ = 0;
};

// Adds a call: a layer, or one more of the last one as long as that has not as
// many as are decoded.
void AddInfo(const LayerInfo& call, int64_t queries,
             std::vector<LayerInfo>* layers) {
  if (layers->empty() || layers->back().calls >= queries) {
    layers->push_back(call);
    return;
  }
  LayerInfo& layer = layers->back();
  layer.problem = call.problem;
  layer.rows += call.rows;
  layer.checked_rows += call.checked_rows;
  ++layer.calls;
}

// Input that exact attention cannot serve has nothing to be compared with.
void CheckBaseline(const TensorSource& source, const CallRun& run,
                   const Measurement& cell) {
  if (cell.gate == Gate::kRefused) {
    throw io::InputError("exact attention refused: " + cell.reason);
  }
  if (cell.gate == Gate::kPassed || std::isfinite(cell.rel_l2)) return;
  const std::string overflow = run.Overflow();
  if (overflow.empty()) return;
  throw io::InputError(io::Quoted(source.name) + ": " + run.Info().name + ": " +
                       overflow);
}

// A truth costs about ten runs, a check about three.
constexpr double kTruthSteps = 10, kCheckSteps = 3;

CompareResult Begin(const TensorSource& source, std::vector<Setting> settings,
                    const CompareOptions& options, double truth_steps,
                    Steps* steps) {
  PutBaselineFirst(&settings);
  DropRepeated(&settings);
  CompareResult result;
  result.queries = source.queries;
  result.tokens =
      static_cast<double>(source.queries) *
      static_cast<double>(source.layers[0].tensors.problem.shape.batch);
  result.cells.resize(settings.size());
  const double per_setting = kCheckSteps + options.repeats;
  steps->Expect(
      static_cast<double>(source.layers.size()) *
      (truth_steps + per_setting * static_cast<double>(settings.size())));
  result.settings = std::move(settings);
  return result;
}

// Checks every setting on a call, then times those that hold.
void MeasureCall(const TensorSource& source, const Layer& layer,
                 const CompareOptions& options, CallRun* run, Steps* steps,
                 CompareResult* result) {
  const std::vector<Setting>& settings = result->settings;
  AddInfo(run->Info(), source.queries, &result->layers);
  std::vector<ScratchPool> scratch(settings.size());
  for (size_t i = 0; i < settings.size(); ++i) {
    steps->Start("checking " + FormatSetting(settings[i]) + " on " +
                 layer.name);
    result->cells[i].push_back(run->Check(settings[i], &scratch[i]));
    steps->Done(kCheckSteps);
    const Measurement& cell = result->cells[i].back();
    if (i == result->baseline) CheckBaseline(source, *run, cell);
  }
  for (int round = 0; round < options.repeats; ++round) {
    for (size_t i = 0; i < settings.size(); ++i) {
      Measurement& cell = result->cells[i].back();
      if (cell.gate == Gate::kPassed) {
        steps->Start("timing " + FormatSetting(settings[i]) + " on " +
                     layer.name);
        cell.seconds.push_back(
            run->Time(settings[i], &scratch[i], &cell.phases));
      }
      steps->Done(1);
    }
  }
}

}  // namespace

Measurement::Measurement()
    : density(kNaN),
      mass_mean(kNaN),
      mass_p05(kNaN),
      rel_l2(kNaN),
      max_abs(kNaN),
      cosine(kNaN) {}

CompareResult RunCompare(const TensorSource& source,
                         std::vector<Setting> settings,
                         const CompareOptions& options,
                         const ProgressFunction& progress) {
  Steps steps(progress, 0);
  CompareResult result =
      Begin(source, std::move(settings), options, kTruthSteps, &steps);
  for (const Layer& layer : source.layers) {
    steps.Start("computing the truth of " + layer.name);
    CallRun run(layer, options);
    steps.Done(kTruthSteps);
    MeasureCall(source, layer, options, &run, &steps, &result);
  }
  FillSummaries(&result);
  return result;
}

Comparison::Comparison(const TensorSource& source,
                       const CompareOptions& options)
    : source_(source), options_(options) {
  for (const Layer& layer : source.layers) {
    calls_.push_back(std::make_unique<CallRun>(layer, options_));
  }
}

Comparison::~Comparison() = default;

CompareResult Comparison::Run(std::vector<Setting> settings,
                              const ProgressFunction& progress) {
  Steps steps(progress, 0);
  CompareResult result =
      Begin(source_, std::move(settings), options_, 0, &steps);
  for (size_t i = 0; i < calls_.size(); ++i) {
    MeasureCall(source_, source_.layers[i], options_, calls_[i].get(), &steps,
                &result);
  }
  FillSummaries(&result);
  return result;
}

void AddRows(const CompareResult& more, CompareResult* result) {
  for (size_t i = 0; i < more.settings.size(); ++i) {
    const std::string name = FormatSetting(more.settings[i]);
    const bool there = std::any_of(
        result->settings.begin(), result->settings.end(),
        [&name](const Setting& s) { return FormatSetting(s) == name; });
    if (there) continue;
    result->settings.push_back(more.settings[i]);
    result->rows.push_back(more.rows[i]);
    for (size_t l = 0; l < result->by_layer.size(); ++l) {
      result->by_layer[l].push_back(more.by_layer[l][i]);
    }
  }
  FillFrontiers(result);
}

}  // namespace heed::eval
