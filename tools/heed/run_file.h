// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A comparison's JSON, read back.
#ifndef HEED_TOOLS_HEED_RUN_FILE_H_
#define HEED_TOOLS_HEED_RUN_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "lib/eval/input_hash.h"
#include "lib/io/json_value.h"

namespace heed::tool {

// Holds what ResultsJson writes: every field that is read below is there and
// has its type.
struct RunFile {
  std::string path;  // how messages call it
  io::JsonValue tree;
};

// Reads a text in the format "heed-compare-1". Throws InputError, which names
// the file and the field, for anything else.
RunFile ParseRun(const std::string& path, std::string_view text);
RunFile ReadRun(const std::string& path);

bool IsNumber(const io::JsonValue& value);

// The parts of a run. They must exist.
const io::JsonValue& PartOf(const io::JsonValue& object, std::string_view key);
const std::string& TextOf(const io::JsonValue& object, std::string_view key);
double NumberIn(const io::JsonValue& object, std::string_view key);  // or NaN

const std::vector<io::JsonValue>& RowsOf(const RunFile& run);
// Returns the row of this name, or null.
const io::JsonValue* FindRow(const RunFile& run, std::string_view name);

// Returns the lengths of a sweep, or nothing where a run is none.
std::vector<int64_t> LengthsOf(const RunFile& run);

// What was attended to.
struct RunInput {
  std::vector<eval::LayerIdentity> layers;
  int64_t queries = 0;  // decoded one by one
};
RunInput InputOf(const RunFile& run);

// Returns "" where two runs had the same input; else the field in which `there`
// differs and how: "input.layers[0].problem is 'a', not 'b'".
std::string InputDifference(const RunInput& there, const RunInput& here);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_RUN_FILE_H_
