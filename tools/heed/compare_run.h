// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs what heed compare was asked for: all rows together, or row by row.
#ifndef HEED_TOOLS_HEED_COMPARE_RUN_H_
#define HEED_TOOLS_HEED_COMPARE_RUN_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "heed/executor.h"
#include "lib/eval/length_sweep.h"
#include "lib/eval/tensor_source.h"
#include "tools/heed/options.h"
#include "tools/heed/results.h"
#include "tools/heed/run_file.h"

namespace heed::tool {

// Puts the budgets that reach the quality asked for into the settings, and what
// was searched into the context.
void SetBudgets(const Options& options, const eval::TensorSource& source,
                const Executor& executor, std::vector<eval::Setting>* settings,
                ResultsContext* context);

// Compares at every length, the longest last, whose input stays.
eval::LengthSweep RunTogether(const std::vector<int64_t>& lengths,
                              const std::vector<eval::Setting>& settings,
                              const Options& options, const Executor& executor,
                              eval::TensorSource* source);

// Takes the rows that are there and runs the others, each at every length, and
// writes the JSON after each; until the time budget, counted from `start`, is
// spent. `source` is the longest length's.
eval::LengthSweep RunRowByRow(const std::vector<int64_t>& lengths,
                              const std::vector<eval::Setting>& settings,
                              const Options& options, const Executor& executor,
                              const eval::TensorSource& source,
                              const std::optional<RunFile>& earlier,
                              std::chrono::steady_clock::time_point start,
                              ResultsContext* context);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_COMPARE_RUN_H_
