// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the tool wrote, as numbers.
#ifndef HEED_TESTS_TOOL_COMPARISON_JSON_H_
#define HEED_TESTS_TOOL_COMPARISON_JSON_H_

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/tool/tool_run.h"

namespace heed::test {

using Json = nlohmann::json;

// Runs "heed compare -q --json - ARGUMENTS" and reads what it wrote.
inline Json CompareJson(const std::string& arguments) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(folder, "compare -q --json - " + arguments);
  EXPECT_EQ(run.exit_code, 0) << run.error;
  return Json::parse(run.out);
}

// The row whose name begins so.
inline Json RowOf(const Json& comparison, const std::string& name) {
  for (const Json& row : comparison.at("rows")) {
    if (row.at("name").get<std::string>().starts_with(name)) return row;
  }
  ADD_FAILURE() << "no row " << name;
  return {};
}

}  // namespace heed::test

#endif  // HEED_TESTS_TOOL_COMPARISON_JSON_H_
