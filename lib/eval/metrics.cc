// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Metrics; definitions are in the header.
#include "lib/eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::eval {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A maximum that keeps a NaN once it saw one.
void RaiseTo(double value, double* max) {
  if (std::isnan(value) || value > *max) *max = value;
}

}  // namespace

void ErrorMetrics::Add(double got, double truth) {
  const double error = got - truth;
  error_square_ += error * error;
  truth_square_ += truth * truth;
  got_square_ += got * got;
  product_ += got * truth;
  if (!std::isnan(max_abs_)) RaiseTo(std::fabs(error), &max_abs_);
  if (!std::isnan(truth_max_)) RaiseTo(std::fabs(truth), &truth_max_);
}

double ErrorMetrics::RelativeL2() const {
  if (error_square_ == 0) return 0;
  return std::sqrt(error_square_) / std::sqrt(truth_square_);
}

double ErrorMetrics::Cosine() const {
  if (truth_square_ == 0 && got_square_ == 0) return 1;
  if (truth_square_ == 0 || got_square_ == 0) return 0;
  return product_ / (std::sqrt(got_square_) * std::sqrt(truth_square_));
}

void MassMetrics::Add(double lse, double lse_exact) {
  if (lse_exact == -std::numeric_limits<double>::infinity()) return;
  rows_.push_back(std::exp(lse - lse_exact));
}

double MassMetrics::Mean() const {
  if (rows_.empty()) return kNaN;
  double sum = 0;
  for (const double row : rows_) sum += row;
  return sum / static_cast<double>(rows_.size());
}

double MassMetrics::Quantile(double q) const { return QuantileOf(rows_, q); }

double QuantileOf(std::vector<double> values, double q) {
  if (values.empty()) return kNaN;
  for (const double value : values) {
    if (std::isnan(value)) return kNaN;
  }
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  const double share = at - static_cast<double>(below);
  // Equal neighbours are taken as they are: infinite ones have no difference.
  if (share == 0 || values[below] == values[above]) return values[below];
  return values[below] + share * (values[above] - values[below]);
}

double MedianAbsoluteDeviation(const std::vector<double>& values) {
  const double median = QuantileOf(values, 0.5);
  std::vector<double> deviations;
  for (const double value : values) {
    deviations.push_back(std::fabs(value - median));
  }
  return QuantileOf(std::move(deviations), 0.5);
}

}  // namespace heed::eval
