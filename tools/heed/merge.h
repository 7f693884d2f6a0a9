// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Many runs of the same input as one.
#ifndef HEED_TOOLS_HEED_MERGE_H_
#define HEED_TOOLS_HEED_MERGE_H_

#include <cstddef>
#include <vector>

#include "lib/io/json_value.h"
#include "tools/heed/run_file.h"

namespace heed::tool {

// Returns the runs' rows in one comparison, in the order in which they come
// first. It is that of the first run's machine (environment, kernel table,
// threads, rounds): a row that was timed there has its times, and one that was
// not has none and "here": false. Times from other machines stand in the row's
// "elsewhere", each with the number of its machine in the list "elsewhere" of
// the whole, from 1. Of a row that was timed twice on one machine the first
// times are kept, of a quality that is the same the first; the frontier is
// found anew among the times of each machine.
//
// Sweeps are joined with sweeps of the same lengths; what a resumed one needs
// of its shorter lengths is left out.
//
// Throws InputError, which names the file and the field, where version, input,
// lengths, queries or the quality searched for differ, or a row's quality by
// more than kQualityRounding.
//
// Merging is associative, and a run merged with itself is itself.
io::JsonValue MergeRuns(const std::vector<RunFile>& runs);

// The machines of a run: 1, or more where it is merged.
size_t CountMachines(const io::JsonValue& tree);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_MERGE_H_
