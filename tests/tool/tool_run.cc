// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A shell with its outputs in files.
#include "tests/tool/tool_run.h"

#include <sys/wait.h>

#include <cstdlib>

namespace heed::test {

ToolRun RunTool(const TemporaryFolder& folder, const std::string& arguments) {
  const TemporaryFolder outputs;
  const std::string command = "cd '" + folder.Path(".") + "' && '" +
                              HEED_TOOL_PATH + "' " + arguments + " >'" +
                              outputs.Path("out") + "' 2>'" +
                              outputs.Path("error") + "' </dev/null";
  const int status = std::system(command.c_str());
  ToolRun run;
  run.exit_code =
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.out = outputs.Read("out");
  run.error = outputs.Read("error");
  return run;
}

}  // namespace heed::test
