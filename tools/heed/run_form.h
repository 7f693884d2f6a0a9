// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a comparison's JSON must hold.
#ifndef HEED_TOOLS_HEED_RUN_FORM_H_
#define HEED_TOOLS_HEED_RUN_FORM_H_

#include <string>

#include "lib/io/json_value.h"

namespace heed::tool {

// What a row of a sweep of lengths has of times beside lists of numbers.
inline constexpr const char* kSweepTimes[] = {
    "growth", "efficiency", "efficiency_length", "efficiency_shortest",
    "efficiency_longest"};

// Throws InputError, which names the file and the field, where a tree is not
// what ResultsJson or MergeRuns writes.
void CheckForm(const std::string& path, const io::JsonValue& tree);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_RUN_FORM_H_
