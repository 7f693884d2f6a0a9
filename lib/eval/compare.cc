// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The loop over layers: truth, gates, then interleaved timing.
#include "lib/eval/compare.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "heed/ops.h"
#include "lib/eval/gate.h"
#include "lib/eval/metrics.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/selection.h"
#include "lib/eval/truth.h"
#include "lib/io/input_error.h"

namespace heed::eval {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kMinTruthRows = 64;
constexpr int kMaxRunsPerSample = 10000;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

 private:
  const ProgressFunction& progress_;
  double total_;
  double done_ = 0;
};

class LayerRun {
 public:
  LayerRun(const Layer& layer, const CompareOptions& options)
      : layer_(layer),
        options_(options),
        args_(layer.tensors.Args()),
        judge_(layer.tensors.problem.params, args_, MeasuredRows(),
               PickRows(args_.query.seqlen(), options.gate_rows),
               options.executor) {}

  LayerInfo info() const {
    LayerInfo info;
    info.name = layer_.name;
    info.problem = io::FormatProblem(layer_.tensors.problem);
    info.rows = args_.query.seqlen();
    info.checked_rows = CountRows(MeasuredRows());
    return info;
  }

  // Runs a setting once with everything recorded, and judges it.
  Measurement Check(const Setting& setting, ScratchPool* scratch) {
    const io::Problem& problem = layer_.tensors.problem;
    const Variant& variant = setting.variant.variant;
    Measurement cell;
    VariantArgs run = MakeArgs(setting);
    // Where nothing is selected nothing is recorded, and a row costs nothing.
    const bool selects = variant.semantics == Semantics::kExactOnSelection;
    Selection selection(problem.params,
                        selects ? problem.shape : AttentionShape());
    if (selects) run.selection = selection.Recorder();
    layer_.tensors.ClearOutput();
    run.scratch = scratch->Begin();
    if (const Status status = RunVariant(variant, run); !status.ok()) {
      cell.reason = ToString(status);
      return cell;
    }
    Measure(setting, &cell);
    cell.workspace = scratch->HighWater();
    cell.gate = Gate::kFailed;
    if (!layer_.tensors.out.PaddingIntact() ||
        !layer_.tensors.lse.PaddingIntact()) {
      cell.reason = "wrote outside its output";
    } else if (std::isnan(cell.rel_l2)) {
      cell.reason = "the output is not finite, or was not written";
    } else {
      const GateResult result = judge_.Check(variant, run, &selection);
      if (result.passed) cell.gate = Gate::kPassed;
      cell.reason = result.reason;
      cell.density = result.density;
    }
    return cell;
  }

  // Returns seconds a run: one sample of at least the asked duration.
  double Time(const Setting& setting, ScratchPool* scratch) const {
    VariantArgs run = MakeArgs(setting);
    const Clock::time_point start = Clock::now();
    for (int runs = 1;; ++runs) {
      run.scratch = scratch->Begin();
      // Checked already: the same call passed.
      (void)RunVariant(setting.variant.variant, run);
      const double seconds = SecondsSince(start);
      if (seconds >= options_.min_sample_seconds || runs == kMaxRunsPerSample) {
        return seconds / runs;
      }
    }
  }

 private:
  std::vector<RowRun> MeasuredRows() const {
    const AttentionShape& shape = layer_.tensors.problem.shape;
    return PickRows(shape.seqlen_q,
                    AffordableRows(shape, options_.truth_flops, kMinTruthRows));
  }

  VariantArgs MakeArgs(const Setting& setting) const {
    VariantArgs run;
    run.params = layer_.tensors.problem.params;
    run.args = args_;
    std::copy(setting.knobs.begin(), setting.knobs.end(), run.knobs);
    run.executor = options_.executor;
    return run;
  }

  void Measure(const Setting& setting, Measurement* cell) const {
    const io::Problem& problem = layer_.tensors.problem;
    const ErrorMetrics error =
        MeasureError(judge_.truth(), layer_.tensors.out.view);
    cell->rel_l2 = error.RelativeL2();
    cell->max_abs = error.MaxAbs();
    cell->cosine = error.Cosine();
    const MassMetrics mass =
        MeasureMass(judge_.truth(), layer_.tensors.lse.view);
    cell->mass_mean = mass.Mean();
    cell->mass_p05 = mass.Quantile(0.05);
    const Variant& variant = setting.variant.variant;
    if (variant.cost != nullptr) {
      const Cost cost =
          variant.cost(problem.shape, problem.params, setting.knobs.data());
      cell->flops = cost.flops;
      cell->bytes = cost.bytes;
    }
  }

  const Layer& layer_;
  const CompareOptions& options_;
  AttentionArgs args_;
  Judge judge_;
};

Summary Summarise(const std::vector<Measurement>& cells) {
  Summary row;
  Measurement& total = row.total;
  total.gate = Gate::kPassed;
  total.density = total.mass_mean = total.mass_p05 = 0;
  total.rel_l2 = total.max_abs = total.cosine = 0;
  const double share = 1.0 / static_cast<double>(cells.size());
  for (const Measurement& cell : cells) {
    if (cell.gate != Gate::kPassed && total.gate != Gate::kFailed &&
        (total.gate == Gate::kPassed || cell.gate == Gate::kFailed)) {
      total.gate = cell.gate;
      total.reason = cell.reason;
    }
    if (total.reason.empty()) total.reason = cell.reason;
    total.seconds.resize(std::max(total.seconds.size(), cell.seconds.size()));
    for (size_t i = 0; i < cell.seconds.size(); ++i) {
      total.seconds[i] += cell.seconds[i];
    }
    total.flops += cell.flops;
    total.bytes += cell.bytes;
    total.workspace = std::max(total.workspace, cell.workspace);
    total.density += share * cell.density;
    total.mass_mean += share * cell.mass_mean;
    total.mass_p05 += share * cell.mass_p05;
    total.rel_l2 += share * cell.rel_l2;
    total.cosine += share * cell.cosine;
    if (!(cell.max_abs <= total.max_abs)) total.max_abs = cell.max_abs;
  }
  if (total.gate != Gate::kPassed) total.seconds.clear();
  row.median_seconds = QuantileOf(total.seconds, 0.5);
  row.mad_seconds =
      total.seconds.size() > 1 ? MedianAbsoluteDeviation(total.seconds) : kNaN;
  row.noisy = row.mad_seconds > kNoisySpread * row.median_seconds;
  return row;
}

// Fills in what depends on the other settings.
void SetRanks(size_t baseline_index, std::vector<Summary>* rows) {
  const Summary& baseline = (*rows)[baseline_index];
  const double seconds = baseline.median_seconds;
  const double rounding = 2 * baseline.total.rel_l2;
  std::vector<TradeOff> points;
  for (Summary& row : *rows) {
    row.speedup = seconds / row.median_seconds;
    // In this order a NaN error stays NaN.
    const double error =
        row.total.rel_l2 < rounding ? rounding : row.total.rel_l2;
    points.push_back(
        {row.median_seconds, error, row.total.gate == Gate::kPassed});
  }
  const std::vector<bool> frontier = ParetoFrontier(points);
  for (size_t i = 0; i < frontier.size(); ++i) (*rows)[i].pareto = frontier[i];
}

void FillSummaries(CompareResult* result) {
  result->by_layer.resize(result->layers.size());
  for (const auto& cells : result->cells) {
    result->rows.push_back(Summarise(cells));
    for (size_t l = 0; l < cells.size(); ++l) {
      result->by_layer[l].push_back(Summarise({cells[l]}));
    }
  }
  SetRanks(result->baseline, &result->rows);
  for (auto& rows : result->by_layer) SetRanks(result->baseline, &rows);
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
  PutBaselineFirst(&settings);
  DropRepeated(&settings);
  CompareResult result;
  result.cells.resize(settings.size());
  // A truth costs about ten runs, a check about three.
  constexpr double kTruthSteps = 10, kCheckSteps = 3;
  const double per_setting = kCheckSteps + options.repeats;
  Steps steps(
      progress,
      static_cast<double>(source.layers.size()) *
          (kTruthSteps + per_setting * static_cast<double>(settings.size())));
  for (const Layer& layer : source.layers) {
    steps.Start("computing the truth of " + layer.name);
    LayerRun run(layer, options);
    result.layers.push_back(run.info());
    steps.Done(kTruthSteps);
    std::vector<ScratchPool> scratch(settings.size());
    for (size_t i = 0; i < settings.size(); ++i) {
      steps.Start("checking " + FormatSetting(settings[i]) + " on " +
                  layer.name);
      result.cells[i].push_back(run.Check(settings[i], &scratch[i]));
      steps.Done(kCheckSteps);
      const Measurement& cell = result.cells[i].back();
      if (i == result.baseline && cell.gate == Gate::kRefused) {
        throw io::InputError("exact attention refused: " + cell.reason);
      }
    }
    for (int round = 0; round < options.repeats; ++round) {
      for (size_t i = 0; i < settings.size(); ++i) {
        Measurement& cell = result.cells[i].back();
        if (cell.gate == Gate::kPassed) {
          steps.Start("timing " + FormatSetting(settings[i]) + " on " +
                      layer.name);
          cell.seconds.push_back(run.Time(settings[i], &scratch[i]));
        }
        steps.Done(1);
      }
    }
  }
  result.settings = std::move(settings);
  FillSummaries(&result);
  return result;
}

}  // namespace heed::eval
