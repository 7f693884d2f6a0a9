// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs to compare, the same on any machine but for what they measured.
#ifndef HEED_TESTS_TOOL_QUIET_RUNS_H_
#define HEED_TESTS_TOOL_QUIET_RUNS_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/tool/comparison_json.h"
#include "tools/heed/run_file.h"

namespace heed::test {

inline constexpr char kArguments[] =
    "--repeats 5 --problem b1_h2_d8_q70_f32_causal naive window_sink:window=8 "
    "linear_elu block_topk:block=8:total_blocks=2";

// Times as if the row had taken them in its rounds.
inline void SetSeconds(const std::vector<double>& seconds, Json* row) {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const double median =
      (sorted[sorted.size() / 2] + sorted[(sorted.size() - 1) / 2]) / 2;
  (*row)["seconds"] = seconds;
  (*row)["time"] = median;
  for (double& second : sorted) second = std::fabs(second - median);
  std::sort(sorted.begin(), sorted.end());
  const double mad =
      (sorted[sorted.size() / 2] + sorted[(sorted.size() - 1) / 2]) / 2;
  (*row)["mad"] = mad;
  (*row)["spread"] = mad / median;
  (*row)["noisy"] = mad > 0.03 * median;
}

// A run whose rounds are quiet, whatever the machine is doing.
inline const Json& Small() {
  static const Json comparison = [] {
    Json run = CompareJson(kArguments);
    for (Json& row : run["rows"]) {
      SetSeconds({1.0, 1.01, 0.99, 1.005, 0.995}, &row);
    }
    return run;
  }();
  return comparison;
}

inline const Json& Swept() {
  static const Json comparison = CompareJson(
      "--repeats 2 --problem b1_h1_d8_q8_causal naive --tokens 8,16,24");
  return comparison;
}

inline tool::RunFile RunOf(const Json& comparison) {
  return tool::ParseRun("x.json", comparison.dump());
}

}  // namespace heed::test

#endif  // HEED_TESTS_TOOL_QUIET_RUNS_H_
