// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a variant lost: distances between its output and the truth, and the
// share of attention that it kept.
#ifndef HEED_LIB_EVAL_METRICS_H_
#define HEED_LIB_EVAL_METRICS_H_

#include <cstdint>
#include <vector>

namespace heed::eval {

// Distances over elements added one by one. A NaN or infinite element on either
// side makes them NaN or infinite; it is never skipped.
class ErrorMetrics {
 public:
  void Add(double got, double truth);

  // |got - truth| / |truth| in the Euclidean norm; 0 where both are zero.
  double RelativeL2() const;
  double MaxAbs() const { return max_abs_; }
  // <got, truth> / (|got| |truth|); 1 where both are zero, 0 where one is.
  double Cosine() const;
  // The largest |truth|.
  double TruthMax() const { return truth_max_; }

 private:
  double error_square_ = 0;
  double truth_square_ = 0;
  double got_square_ = 0;
  double product_ = 0;
  double max_abs_ = 0;
  double truth_max_ = 0;
};

// The share of exact attention that a row's kept keys hold: exp(lse -
// lse_exact), which is the sum of their exact weights (recall), without forming
// any of them.
class MassMetrics {
 public:
  // Rows without a visible key (lse_exact = -inf) are left out. A NaN lse, as
  // variants without a softmax write, makes the metrics NaN.
  void Add(double lse, double lse_exact);

  // NaN where nothing was added.
  double Mean() const;
  // Quantile q in [0, 1] of the rows, linear between neighbours.
  double Quantile(double q) const;

 private:
  std::vector<double> rows_;
};

// Returns quantile q of the values, linear between neighbours; NaN for none.
double QuantileOf(std::vector<double> values, double q);

// Returns the median absolute deviation from the median.
double MedianAbsoluteDeviation(const std::vector<double>& values);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_METRICS_H_
