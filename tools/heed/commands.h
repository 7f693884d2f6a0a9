// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The subcommands. Each returns the exit status. They throw InputError for bad
// input.
#ifndef HEED_TOOLS_HEED_COMMANDS_H_
#define HEED_TOOLS_HEED_COMMANDS_H_

#include <string>

#include "tools/heed/options.h"

namespace heed::tool {

enum ExitCode : int {
  kFine = 0,
  kFailedCheck = 1,  // some variant's result did
  kBadInput = 2,
  kChanged = 3,  // --against found a number that did
};

int RunInfo(const Options& options);
int RunVariants(const Options& options);
// `command` is the command line, for the record.
int RunMerge(const Options& options, const std::string& command);
int RunCompareCommand(const Options& options, const std::string& command);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_COMMANDS_H_
