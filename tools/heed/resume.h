// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A comparison row by row: taken from an earlier file where they are there, run
// where not, until the time is spent.
#ifndef HEED_TOOLS_HEED_RESUME_H_
#define HEED_TOOLS_HEED_RESUME_H_

#include <functional>
#include <string>
#include <vector>

#include "lib/eval/compare.h"
#include "lib/eval/length_sweep.h"
#include "tools/heed/results.h"
#include "tools/heed/run_file.h"

namespace heed::tool {

// Returns the rows of a run at these lengths as this build's comparison, with
// `tokens` decoded in a round. Throws InputError for rows whose variant this
// build has not, for merged runs and for other lengths.
eval::LengthSweep SweepOf(const RunFile& run,
                          const std::vector<int64_t>& lengths, double tokens);

// Throws InputError, which names the file and the field, where the run's rows
// cannot stand beside those of this context: another version, machine, kernel
// table, number of threads or rounds.
void CheckSameSetting(const RunFile& run, const ResultsContext& context);

struct RowByRow {
  std::function<bool()> time_is_left;
  // Told after each row, with the names of those still to run.
  std::function<void(const eval::LengthSweep& sweep,
                     const std::vector<std::string>& left)>
      after_row;
};

// Runs the settings that `sweep` lacks on the sources, one for each of its
// lengths: each setting at all of them, beside `exact` and in its own rounds,
// as long as time is left; exact always runs. Returns the names of those left
// out. Throws as RunCompare.
std::vector<std::string> RunRows(const std::vector<eval::TensorSource>& sources,
                                 const std::vector<eval::Setting>& settings,
                                 const eval::CompareOptions& options,
                                 const RowByRow& hooks,
                                 const eval::ProgressFunction& progress,
                                 eval::LengthSweep* sweep);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_RESUME_H_
