// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What `heed --help` and the help of its commands say beside their options.
#ifndef HEED_TOOLS_HEED_HELP_TEXT_H_
#define HEED_TOOLS_HEED_HELP_TEXT_H_

#include <string>

namespace heed::tool {

extern const char kExamples[];
extern const char kMergeHelp[];

// With what every number and sign means, as numbers.h lists them.
std::string CompareHelp();

// Breaks lines at the width of a table: CLI11 breaks none. Where an option's
// text begins, its next lines do.
std::string WrapHelp(const std::string& text);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_HELP_TEXT_H_
