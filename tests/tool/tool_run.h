// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs the tool as a user does.
#ifndef HEED_TESTS_TOOL_TOOL_RUN_H_
#define HEED_TESTS_TOOL_TOOL_RUN_H_

#include <string>

#include "tests/support/temporary_file.h"

namespace heed::test {

struct ToolRun {
  int exit_code = -1;  // 128 + signal where it was killed
  std::string out;
  std::string error;
};

// Runs heed with these arguments, as a shell reads them, inside `folder`.
// Shell commands may stand before it.
ToolRun RunTool(const TemporaryFolder& folder, const std::string& arguments,
                const std::string& before = "");

bool Has(const std::string& text, const std::string& part);

// Expects that the tool ended with exit code 2 and one sentence, short and
// without control characters, that holds `part`.
void ExpectComplaint(const ToolRun& run, const std::string& part);

// Expects that, and that nothing was printed and no file was left.
void ExpectBadInput(const std::string& arguments, const std::string& part);

}  // namespace heed::test

#endif  // HEED_TESTS_TOOL_TOOL_RUN_H_
