// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Metrics on numbers whose answers are known.
#include "lib/eval/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace heed::test {
namespace {

using eval::ErrorMetrics;
using eval::MassMetrics;
using eval::MedianAbsoluteDeviation;
using eval::QuantileOf;

TEST(Metrics, MeasureKnownErrors) {
  ErrorMetrics error;
  error.Add(3, 3);
  error.Add(0, 4);
  EXPECT_DOUBLE_EQ(error.RelativeL2(), 0.8);
  EXPECT_EQ(error.MaxAbs(), 4);
  EXPECT_DOUBLE_EQ(error.Cosine(), 0.6);
  EXPECT_EQ(error.TruthMax(), 4);
}

TEST(Metrics, MeasureZeros) {
  ErrorMetrics error;
  EXPECT_EQ(error.RelativeL2(), 0);
  EXPECT_EQ(error.Cosine(), 1);
  error.Add(0, 0);
  EXPECT_EQ(error.RelativeL2(), 0);
  EXPECT_EQ(error.Cosine(), 1);
  error.Add(1, 0);
  EXPECT_EQ(error.RelativeL2(), INFINITY);
  EXPECT_EQ(error.Cosine(), 0);
}

TEST(Metrics, NeverSkipNaN) {
  ErrorMetrics error;
  error.Add(NAN, 1);
  error.Add(1, 1);
  EXPECT_TRUE(std::isnan(error.RelativeL2()));
  EXPECT_TRUE(std::isnan(error.MaxAbs()));
  EXPECT_TRUE(std::isnan(error.Cosine()));
}

TEST(Metrics, MeasureMass) {
  MassMetrics mass;
  EXPECT_TRUE(std::isnan(mass.Mean()));
  mass.Add(std::log(0.5), 0);
  mass.Add(2, 2);
  mass.Add(-INFINITY, 1);          // nothing kept
  mass.Add(-INFINITY, -INFINITY);  // nothing to keep: left out
  EXPECT_DOUBLE_EQ(mass.Mean(), 0.5);
  EXPECT_DOUBLE_EQ(mass.Quantile(0), 0);
  EXPECT_DOUBLE_EQ(mass.Quantile(0.5), 0.5);
  EXPECT_DOUBLE_EQ(mass.Quantile(0.75), 0.75);
  mass.Add(NAN, 0);
  EXPECT_TRUE(std::isnan(mass.Mean()));
  EXPECT_TRUE(std::isnan(mass.Quantile(0.05)));
}

TEST(Metrics, TakeQuantiles) {
  EXPECT_TRUE(std::isnan(QuantileOf({}, 0.5)));
  EXPECT_EQ(QuantileOf({7}, 0.05), 7);
  EXPECT_EQ(QuantileOf({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(QuantileOf({4, 1, 3, 2}, 1), 4);
  EXPECT_EQ(QuantileOf({INFINITY, INFINITY}, 0.5), INFINITY);
  EXPECT_EQ(MedianAbsoluteDeviation({1, 2, 3, 100}), 1);
  EXPECT_EQ(MedianAbsoluteDeviation({5}), 0);
}

}  // namespace
}  // namespace heed::test
