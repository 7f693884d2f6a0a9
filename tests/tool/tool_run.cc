// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A shell with its outputs in files.
#include "tests/tool/tool_run.h"

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>

namespace heed::test {

ToolRun RunTool(const TemporaryFolder& folder, const std::string& arguments,
                const std::string& before) {
  const TemporaryFolder outputs;
  const std::string command = "cd '" + folder.Path(".") + "' && (" + before +
                              " '" + HEED_TOOL_PATH + "' " + arguments +
                              ") >'" + outputs.Path("out") + "' 2>'" +
                              outputs.Path("error") + "' </dev/null";
  const int status = std::system(command.c_str());
  ToolRun run;
  run.exit_code =
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.out = outputs.Read("out");
  run.error = outputs.Read("error");
  return run;
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void ExpectComplaint(const ToolRun& run, const std::string& part) {
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_TRUE(Has(run.error, part)) << run.error;
  EXPECT_EQ(run.error.substr(0, 6), "heed: ");
  EXPECT_LT(run.error.size(), 1024u);
  const auto controls =
      std::count_if(run.error.begin(), run.error.end(), [](const char c) {
        const unsigned char byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
      });
  EXPECT_EQ(controls, 1) << run.error;  // the end of the line
}

void ExpectBadInput(const std::string& arguments, const std::string& part) {
  SCOPED_TRACE(arguments);
  const TemporaryFolder folder;
  const ToolRun run = RunTool(folder, arguments);
  ExpectComplaint(run, part);
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(folder.CountFiles(), 0);
}

}  // namespace heed::test
