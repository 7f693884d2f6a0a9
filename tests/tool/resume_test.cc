// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs that end early and are taken up again.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>

#include "tests/tool/comparison_json.h"

namespace heed::test {
namespace {

constexpr char kProblem[] = "--problem b1_h2_d8_q70_f32_causal --repeats 2 ";
constexpr char kRows[] =
    "naive window_sink:window=8,16 linear_elu "
    "block_topk:block=8:total_blocks=2 gla ";

std::string Row(const std::string& more) {
  return std::string("compare -q ") + kProblem + kRows + more;
}

Json ReadJsonFile(const TemporaryFolder& folder, const std::string& name) {
  return Json::parse(folder.Read(name));
}

// What does not depend on the clock.
Json QualityOf(Json rows) {
  for (Json& row : rows) {
    for (const char* key :
         {"time", "token_time", "mad", "spread", "tokens_per_second", "speedup",
          "seconds", "noisy", "pareto", "phases", "workspace_bytes"}) {
      row.erase(key);
      for (Json& layer : row["layers"]) layer.erase(key);
    }
  }
  return rows;
}

TEST(Resume, RunsWhatIsMissingAndTakesTheRest) {
  const TemporaryFolder folder;
  const ToolRun first = RunTool(folder, Row("--time-budget 0 --resume a.json"));
  EXPECT_EQ(first.exit_code, 0) << first.error;
  EXPECT_TRUE(
      Has(first.out, "\n6 rows left out, as 0 s were spent:\n  naive\n"))
      << first.out;
  const Json part = ReadJsonFile(folder, "a.json");
  ASSERT_EQ(part["rows"].size(), 1u);
  EXPECT_EQ(part["rows"][0]["name"], "exact");
  EXPECT_EQ(part["run"]["left_out"].size(), 6u);
  EXPECT_EQ(part["run"]["row_by_row"], true);

  // Some more, then all.
  ASSERT_EQ(RunTool(folder, std::string("compare -q ") + kProblem +
                                "window_sink:window=16 --resume a.json")
                .exit_code,
            0);
  const Json more = ReadJsonFile(folder, "a.json");
  EXPECT_EQ(more["rows"].size(), 2u);
  EXPECT_TRUE(more["run"]["left_out"].empty());
  ASSERT_EQ(RunTool(folder, Row("--resume a.json --json b.json")).exit_code, 0);
  EXPECT_EQ(ReadJsonFile(folder, "a.json"), more);  // is only read
  const Json whole = ReadJsonFile(folder, "b.json");
  ASSERT_EQ(whole["rows"].size(), 7u);
  for (const char* name : {"exact", "window_sink:window=16"}) {
    EXPECT_EQ(RowOf(whole, name)["seconds"], RowOf(more, name)["seconds"]);
    EXPECT_EQ(RowOf(whole, name)["speedup"], RowOf(more, name)["speedup"]);
  }
  // The rows of a run in one go.
  const Json single = CompareJson(std::string(kProblem) + kRows);
  for (const Json& row : single["rows"]) {
    EXPECT_EQ(QualityOf(Json::array({row})),
              QualityOf(Json::array({RowOf(whole, row["name"])})));
  }
}

// All that a file says of its rows comes back as it was.
TEST(Resume, GivesBackEveryNumber) {
  for (const char* view :
       {"--tokens 40 ", "--tokens 40 --queries 3 ", "--tokens 10,24,40 ",
        "--tokens 8,24 --queries 2 "}) {
    SCOPED_TRACE(view);
    const TemporaryFolder folder;
    const std::string layers =
        "compare -q --repeats 2 --layers 2,10 linear_elu "
        "window_sink:window=8 --resume a.json --csv a.csv ";
    ASSERT_EQ(RunTool(folder, layers + view).exit_code, 0);
    const Json before = ReadJsonFile(folder, "a.json");
    const std::string csv = folder.Read("a.csv");
    const ToolRun again = RunTool(folder, layers + view);
    ASSERT_EQ(again.exit_code, 0) << again.error;
    Json after = ReadJsonFile(folder, "a.json");
    after["began"] = before["began"];
    EXPECT_EQ(after, before);
    EXPECT_EQ(folder.Read("a.csv"), csv);
    EXPECT_TRUE(Has(again.out, "\nwindow_sink:window=8 ")) << again.out;
  }
}

// Of a sweep, a row is there at every length or at none.
TEST(Resume, TakesUpASweepOfLengths) {
  const TemporaryFolder folder;
  const std::string sweep = "--tokens 16,24,40 ";
  const ToolRun first =
      RunTool(folder, Row(sweep + "--time-budget 0 --resume a.json"));
  ASSERT_EQ(first.exit_code, 0) << first.error;
  const Json part = ReadJsonFile(folder, "a.json");
  EXPECT_EQ(part["run"]["left_out"].size(), 6u);
  EXPECT_EQ(part["sweep"]["rows"].size(), 1u);
  ASSERT_EQ(part["shorter"].size(), 2u);
  EXPECT_EQ(part["shorter"][1]["rows"].size(), 1u);
  ASSERT_EQ(
      RunTool(folder, Row(sweep + "--resume a.json --csv a.csv")).exit_code, 0);
  const Json whole = ReadJsonFile(folder, "a.json");
  ASSERT_EQ(whole["rows"].size(), 7u);
  EXPECT_EQ(whole["sweep"]["rows"][0]["time"],
            part["sweep"]["rows"][0]["time"]);
  const Json single = CompareJson(std::string(kProblem) + kRows + sweep);
  for (size_t i = 0; i < 7; ++i) {
    const Json &row = whole["sweep"]["rows"][i],
               &other = single["sweep"]["rows"][i];
    ASSERT_EQ(row["name"], other["name"]);
    for (const char* key : {"flops", "density", "rel_l2", "cosine"}) {
      EXPECT_EQ(row[key], other[key]) << row["name"] << key;
    }
    EXPECT_GT(row["time"][2].get<double>(), 0) << row["name"];
  }
  // Another list of lengths, or none, is another run.
  for (const auto& [tokens, part_of_it] :
       {std::pair{"--tokens 16,40", "sweep.tokens are 16, 24, 40, not 16, 40"},
        std::pair{"--tokens 40",
                  "sweep.tokens are 16, 24, 40, not one length"}}) {
    ExpectComplaint(
        RunTool(folder, Row(tokens + std::string(" --resume a.json"))),
        part_of_it);
  }
  folder.Write("b.json", single.dump());
  ExpectComplaint(RunTool(folder, Row(sweep + "--resume b.json")),
                  "it is a sweep that ran in one go");
}

// Killed at any moment, the file holds whole rows or is not there. The moments
// come from the run itself, which is short here and long under a sanitizer:
// ever later until one leaves rows, between the two where none was there and
// all were.
TEST(Resume, LeavesWholeRowsWhenKilled) {
  const TemporaryFolder folder;
  const std::string path = folder.Path("a.json");
  const std::string run =
      "compare -q --problem b1_h2_d16_q100_f32_causal --repeats 2 naive "
      "window_sink:window=8,16,32,64 linear_elu:chunk=8,16,32 dilated "
      "--resume a.json";
  const auto whole_rows = [&]() -> size_t {
    if (!std::filesystem::exists(path)) return 0;
    const Json json = ReadJsonFile(folder, "a.json");
    EXPECT_EQ(json["rows"].size() + json["run"]["left_out"].size(), 10u);
    return json["rows"].size();
  };
  double seconds = 0.05, too_early = 0, too_late = 0;
  size_t rows = 0;
  int tries = 0;
  while (true) {
    ASSERT_LT(++tries, 100) << seconds;
    const ToolRun result =
        RunTool(folder, run, "timeout -s KILL " + std::to_string(seconds));
    const bool killed = result.exit_code == 128 + SIGKILL;
    ASSERT_TRUE(killed || result.exit_code == 0) << result.error;
    const size_t now = whole_rows();
    ASSERT_GE(now, rows);  // what an earlier kill left is kept
    if (!killed) {
      ASSERT_EQ(now, 10u);
      if (rows > 0) break;
      std::filesystem::remove(path);
      too_late = seconds;
    } else if (now == 0) {
      too_early = seconds;
    }
    rows = killed ? now : 0;
    seconds =
        rows > 0 || too_late == 0 ? seconds * 1.4 : (too_early + too_late) / 2;
  }
}

TEST(Resume, RefusesRowsThatCannotStandBesideOthers) {
  const TemporaryFolder inputs;
  const Json run = CompareJson(std::string(kProblem) + "naive --threads 1");
  const auto refuse = [&](const char* pointer, const Json& value,
                          const std::string& part) {
    Json other = run;
    other[Json::json_pointer(pointer)] = value;
    const std::string path = "'" + inputs.Write("a.json", other.dump()) + "'";
    ExpectBadInput(std::string("compare ") + kProblem +
                       "naive --threads 1 --json x.json --resume " + path,
                   part);
  };
  refuse("/environment/cpu", "X", "resumed: environment.cpu is 'X', not '");
  refuse("/environment/version", "9", "environment.version is '9', not '");
  refuse("/environment/processors", 999,
         "environment.processors is '999', not '");
  refuse("/run/target", "sve9", "run.target is 'sve9', not '");
  refuse("/run/threads", 9, "run.threads is '9', not '1'");
  refuse("/run/repeats", 9, "run.repeats is '9', not '2'");
  refuse("/run/queries", 9, "another input: run.queries is 9, not 0");
  refuse("/input/layers/0/hash", "9", "input.layers[0].hash is '9', not '");
  refuse("/rows/1/name", "nave", "unknown variant 'nave'");
  refuse("/rows/1/name", "naive:", "cannot be resumed");
  refuse("/rows/1/here", false, "merged from several machines");
  refuse("/rows/1/gate", "fine", "rows[1].gate is none");
  refuse("/input/layers/0/rows", "9",
         "input.layers[0].rows is not of its type");
}

TEST(Resume, RefusesBadOptions) {
  ExpectBadInput("compare --time-budget -1", "seconds from 0 to 1e9, not '-1'");
  ExpectBadInput("compare --time-budget nan", "not 'nan'");
  ExpectBadInput("compare --time-budget 3s", "not '3s'");
  ExpectBadInput("compare --resume none.json --json x.json",
                 "cannot read 'none.json': No such file");
  ExpectBadInput("compare --resume no/x.json", "its folder does not exist");
}

}  // namespace
}  // namespace heed::test
