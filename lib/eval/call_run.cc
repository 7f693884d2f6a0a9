// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Truth, check and timing of one call.
#include "lib/eval/call_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "heed/ops.h"
#include "lib/eval/metrics.h"
#include "lib/eval/overflow.h"
#include "lib/eval/recorded_cost.h"
#include "lib/eval/selection.h"
#include "lib/eval/truth.h"

namespace heed::eval {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMinTruthRows = 64;
constexpr int kMaxRunsPerSample = 10000;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

CallRun::CallRun(const Layer& layer, const CompareOptions& options)
    : layer_(layer),
      options_(options),
      args_(layer.tensors.Args()),
      judge_(layer.tensors.problem.params, args_, MeasuredRows(),
             PickRows(args_.query.seqlen(), options.gate_rows),
             options.executor) {}

LayerInfo CallRun::Info() const {
  LayerInfo info;
  info.name = layer_.name;
  info.problem = io::FormatProblem(layer_.tensors.problem);
  info.heads = layer_.heads;
  if (info.heads.empty()) {
    info.heads.resize(static_cast<size_t>(args_.query.heads()));
    std::iota(info.heads.begin(), info.heads.end(), 0);
  }
  info.rows = args_.query.seqlen();
  info.checked_rows = CountRows(MeasuredRows());
  return info;
}

Measurement CallRun::Check(const Setting& setting, ScratchPool* scratch) {
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
    for (HeadMeasurement& head : cell.heads) head.density = result.density;
    if (selects && result.passed) {
      const std::vector<double> densities = selection.HeadDensities();
      for (size_t h = 0; h < densities.size(); ++h) {
        cell.heads[h].density = densities[h];
      }
    }
    if (selects && result.passed) {
      cell.cost = RecordedCost(cell.cost, problem.shape, selection);
      cell.kv_bytes = KeyValueBytes(problem.shape, selection.TouchedKeys()) +
                      cell.cost.select_bytes;
      cell.recorded = true;
    }
  }
  return cell;
}

Measurement CallRun::Probe(const Setting& setting, ScratchPool* scratch) {
  Measurement cell;
  VariantArgs run = MakeArgs(setting);
  run.scratch = scratch->Begin();
  const Status status = RunVariant(setting.variant.variant, run);
  if (status.ok()) {
    Measure(setting, &cell);
    cell.gate = Gate::kPassed;
  }
  cell.reason = status.ok() ? "" : ToString(status);
  return cell;
}

double CallRun::Time(const Setting& setting, ScratchPool* scratch,
                     PhaseSeconds* phases) const {
  VariantArgs run = MakeArgs(setting);
  PhaseTimer timer;
  run.phases = timer.Recorder();
  const Clock::time_point start = Clock::now();
  for (int runs = 1;; ++runs) {
    run.scratch = scratch->Begin();
    timer.Begin();
    // Checked already: the same call passed.
    (void)RunVariant(setting.variant.variant, run);
    timer.End();
    const double seconds = SecondsSince(start);
    if (seconds >= options_.min_sample_seconds || runs == kMaxRunsPerSample) {
      for (size_t i = 0; i < phases->size(); ++i) {
        (*phases)[i] += timer.seconds()[i] / runs;
      }
      return seconds / runs;
    }
  }
}

std::string CallRun::Overflow() const {
  return FindOverflow(layer_.tensors.problem.params, args_, MeasuredRows());
}

std::vector<RowRun> CallRun::MeasuredRows() const {
  const AttentionShape& shape = layer_.tensors.problem.shape;
  return PickRows(shape.seqlen_q,
                  AffordableRows(shape, options_.truth_flops, kMinTruthRows));
}

VariantArgs CallRun::MakeArgs(const Setting& setting) const {
  VariantArgs run;
  run.params = layer_.tensors.problem.params;
  run.args = args_;
  std::copy(setting.knobs.begin(), setting.knobs.end(), run.knobs);
  run.executor = options_.executor;
  return run;
}

void CallRun::Measure(const Setting& setting, Measurement* cell) const {
  const io::Problem& problem = layer_.tensors.problem;
  const ErrorMetrics error =
      MeasureError(judge_.truth(), layer_.tensors.out.view);
  cell->rel_l2 = error.RelativeL2();
  cell->max_abs = error.MaxAbs();
  cell->cosine = error.Cosine();
  const MassMetrics mass = MeasureMass(judge_.truth(), layer_.tensors.lse.view);
  cell->mass_mean = mass.Mean();
  cell->mass_p05 = mass.Quantile(0.05);
  cell->row_errors = RowErrors(judge_.truth(), layer_.tensors.out.view);
  const Variant& variant = setting.variant.variant;
  for (const HeadMetrics& head : MeasureHeads(
           judge_.truth(), layer_.tensors.out.view, layer_.tensors.lse.view)) {
    cell->heads.push_back(
        {std::nan(""), head.mass.Mean(), head.error.RelativeL2()});
  }
  cell->kv_bytes = KeyValueBytes(
      problem.shape,
      static_cast<double>(problem.shape.batch * problem.shape.num_kv_heads) *
          ops::VisibleKeyRows(problem.shape, problem.params));
  if (variant.cost != nullptr) {
    cell->cost =
        variant.cost(problem.shape, problem.params, setting.knobs.data());
  }
}

}  // namespace heed::eval
