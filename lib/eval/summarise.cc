// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sums, maxima and means over calls, then ranks among rows.
#include "lib/eval/summarise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "lib/eval/frontier.h"
#include "lib/eval/metrics.h"

namespace heed::eval {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Those at kRowQuantiles; none where a row's error is not a number, or there is
// no row.
std::vector<double> RowQuantiles(std::vector<double> errors) {
  for (const double error : errors) {
    if (std::isnan(error)) return {};
  }
  std::vector<double> quantiles;
  if (errors.empty()) return quantiles;
  std::sort(errors.begin(), errors.end());
  for (const double q : kRowQuantiles) {
    quantiles.push_back(QuantileOf(errors, q));
  }
  return quantiles;
}

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
    total.cost.flops += cell.cost.flops;
    total.cost.bytes += cell.cost.bytes;
    total.cost.select_flops += cell.cost.select_flops;
    total.cost.select_bytes += cell.cost.select_bytes;
    total.kv_bytes += cell.kv_bytes;
    total.recorded = total.recorded || cell.recorded;
    total.workspace = std::max(total.workspace, cell.workspace);
    for (size_t i = 0; i < total.phases.size(); ++i) {
      total.phases[i] += cell.phases[i];
    }
    total.row_errors.insert(total.row_errors.end(), cell.row_errors.begin(),
                            cell.row_errors.end());
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
  const double all =
      std::accumulate(total.phases.begin(), total.phases.end(), 0.0);
  for (double& phase : total.phases) phase *= row.median_seconds / all;
  total.row_errors = RowQuantiles(std::move(total.row_errors));
  row.noisy = row.mad_seconds > kNoisySpread * row.median_seconds;
  return row;
}

// The heads of one layer's calls; none where a call was refused.
std::vector<HeadMeasurement> MeanHeads(const std::vector<Measurement>& calls) {
  std::vector<HeadMeasurement> heads(calls[0].heads.size());
  const double share = 1.0 / static_cast<double>(calls.size());
  for (const Measurement& call : calls) {
    if (call.heads.size() != heads.size()) return {};
    for (size_t h = 0; h < heads.size(); ++h) {
      heads[h].density += share * call.heads[h].density;
      heads[h].mass_mean += share * call.heads[h].mass_mean;
      heads[h].rel_l2 += share * call.heads[h].rel_l2;
    }
  }
  return heads;
}

void SetSpeedups(size_t baseline, std::vector<Summary>* rows) {
  const double seconds = (*rows)[baseline].median_seconds;
  for (Summary& row : *rows) {
    row.speedup = seconds / row.median_seconds;
    row.beaten_by_zeros = row.total.rel_l2 >= kErrorOfZeros;
  }
}

void SetFrontier(size_t baseline, std::vector<Summary>* rows) {
  const double baseline_error = (*rows)[baseline].total.rel_l2;
  std::vector<TradeOff> points;
  for (const Summary& row : *rows) {
    points.push_back({row.median_seconds, row.mad_seconds,
                      RankedError(row.total.rel_l2, baseline_error), row.noisy,
                      row.total.gate == Gate::kPassed});
  }
  const std::vector<bool> frontier = ParetoFrontier(points);
  for (size_t i = 0; i < frontier.size(); ++i) (*rows)[i].pareto = frontier[i];
}

}  // namespace

void FillSummaries(CompareResult* result) {
  result->by_layer.resize(result->layers.size());
  for (const auto& cells : result->cells) {
    result->rows.push_back(Summarise(cells));
    // Calls of one layer stand together.
    auto call = cells.begin();
    for (size_t l = 0; l < result->layers.size(); ++l) {
      const auto end = call + result->layers[l].calls;
      result->by_layer[l].push_back(Summarise({call, end}));
      result->by_layer[l].back().total.heads = MeanHeads({call, end});
      call = end;
    }
  }
  const auto set_tokens = [&](Summary& row) { row.tokens = result->tokens; };
  std::for_each(result->rows.begin(), result->rows.end(), set_tokens);
  for (auto& rows : result->by_layer) {
    std::for_each(rows.begin(), rows.end(), set_tokens);
  }
  SetSpeedups(result->baseline, &result->rows);
  for (auto& rows : result->by_layer) SetSpeedups(result->baseline, &rows);
  FillFrontiers(result);
}

void FillFrontiers(CompareResult* result) {
  SetFrontier(result->baseline, &result->rows);
  for (auto& rows : result->by_layer) SetFrontier(result->baseline, &rows);
}

}  // namespace heed::eval
