// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a run's times belong to: the one definition by which runs are merged,
// resumed and compared.
#ifndef HEED_TOOLS_HEED_MACHINE_H_
#define HEED_TOOLS_HEED_MACHINE_H_

#include <string>
#include <vector>

#include "lib/io/json_value.h"

namespace heed::tool {

// A field in which two runs differ, with its values as text.
struct FieldDifference {
  const char* field;  // "environment.cpu"
  const char* label;  // "CPU"
  std::string there, here;
};

// Returns the fields of the machine in which two runs differ: CPU, caches,
// processors, kernel table, threads and their library. Both hold the objects
// "environment" and "run" of a comparison's JSON.
std::vector<FieldDifference> MachineDifferences(const io::JsonValue& there,
                                                const io::JsonValue& here);

// Returns these, and the fields of how the times came about: version, compiler,
// rounds. Where there is none, rows of both runs may stand side by side.
std::vector<FieldDifference> TimingDifferences(const io::JsonValue& there,
                                               const io::JsonValue& here);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_MACHINE_H_
