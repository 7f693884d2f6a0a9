// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Comparisons for tests, and variants that break their promises.
#ifndef HEED_TESTS_EVAL_COMPARE_RUN_H_
#define HEED_TESTS_EVAL_COMPARE_RUN_H_

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lib/eval/compare.h"

namespace heed::test {

inline NamedVariant Real(const std::string& name) {
  for (const NamedVariant& variant : eval::AllVariants()) {
    if (name == variant.name) return variant;
  }
  ADD_FAILURE() << "no variant " << name;
  return {};
}

// The variant `like` at its defaults with its run replaced.
inline eval::Setting Broken(const char* like,
                            Status (*run)(const VariantArgs&)) {
  NamedVariant variant = Real(like);
  variant.name = "broken";
  variant.variant.run = run;
  return eval::DefaultSetting(variant);
}

// A row of the first head.
inline float* Row(const TensorView& view, int64_t row) {
  return RowAt(view, 0, row, 0);
}

// Few rounds, and short ones.
inline eval::CompareOptions QuickOptions() {
  eval::CompareOptions options;
  options.repeats = 3;
  options.min_sample_seconds = 0;
  return options;
}

inline eval::CompareResult CompareOn(const eval::TensorSource& source,
                                     std::vector<eval::Setting> settings) {
  return eval::RunCompare(source, std::move(settings), QuickOptions(), nullptr);
}

inline eval::CompareResult Compare(
    std::vector<eval::Setting> settings,
    const char* problem = "b1_h2_d8_q70_f32_causal") {
  return CompareOn(eval::MakeSynthetic(problem, {}), std::move(settings));
}

// Expects the second row to be red, with a reason and without a time.
inline void ExpectRed(const eval::CompareResult& result, eval::Gate gate,
                      const char* reason) {
  ASSERT_EQ(result.rows.size(), 2u);
  const eval::Summary& row = result.rows[1];
  EXPECT_EQ(row.total.gate, gate);
  EXPECT_TRUE(row.total.seconds.empty());
  EXPECT_TRUE(std::isnan(row.median_seconds));
  EXPECT_TRUE(std::isnan(row.speedup));
  EXPECT_FALSE(row.pareto);
  EXPECT_NE(row.total.reason.find(reason), std::string::npos)
      << row.total.reason;
}

}  // namespace heed::test

#endif  // HEED_TESTS_EVAL_COMPARE_RUN_H_
