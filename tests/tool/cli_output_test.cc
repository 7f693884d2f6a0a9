// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line and what it writes: whole or not at all, and nothing lost
// in silence.
#include <gtest/gtest.h>

#include <string>

#include "tests/tool/safetensors_maker.h"
#include "tests/tool/temporary_file.h"
#include "tests/tool/tool_run.h"

namespace heed::test {
namespace {

TEST(CliOutput, RefusesOutputsBeforeItComputes) {
  ExpectBadInput("compare --html missing/x.html", "its folder does not exist");
  ExpectBadInput("compare --csv .", "it is a directory");
  ExpectBadInput("compare --json ''", "the name is empty");
}

// A report that exists already is kept where its successor fails.
TEST(CliOutput, LeavesOldFilesAlone) {
  const TemporaryFolder folder;
  folder.Write("x.html", "old");
  const ToolRun run =
      RunTool(folder, "compare -q --problem b1_h1_d0_q4 --html x.html");
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(folder.Read("x.html"), "old");
  EXPECT_EQ(folder.CountFiles(), 1);
}

}  // namespace
}  // namespace heed::test
