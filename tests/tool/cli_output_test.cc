// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line and what it writes: whole or not at all, and nothing lost
// in silence.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/safetensors_maker.h"
#include "tests/support/temporary_file.h"
#include "tests/tool/tool_run.h"

namespace heed::test {
namespace {

TEST(CliOutput, RefusesOutputsBeforeItComputes) {
  ExpectBadInput("compare --html missing/x.html", "its folder does not exist");
  ExpectBadInput("compare --csv .", "it is a directory");
  const TemporaryFolder folder;
  std::filesystem::create_symlink("missing/x.html", folder.Path("link"));
  ExpectComplaint(RunTool(folder, "compare --html link"),
                  "its folder does not exist");
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

constexpr char kSmall[] =
    "compare -q --repeats 1 --problem b1_h1_d8_q40 exact ";

TEST(CliOutput, TellsOfLostOutput) {
  const std::string small = kSmall;
  for (const std::string& arguments :
       {small + "--json - >/dev/full", small + ">/dev/full",
        small + "--json /dev/full", std::string("info >/dev/full"),
        std::string("variants --json >/dev/full"),
        std::string("--help >/dev/full")}) {
    SCOPED_TRACE(arguments);
    const TemporaryFolder folder;
    ExpectComplaint(RunTool(folder, arguments), "cannot write ");
  }
}

// Leaves an old file whole where the new one does not fit.
TEST(CliOutput, LeavesNoPartOfAFile) {
  const TemporaryFolder folder;
  folder.Write("a.json", "old");
  const ToolRun run =
      RunTool(folder, kSmall + std::string("--json a.json"), "ulimit -f 1;");
  ExpectComplaint(run, "cannot write 'a.json': File too large");
  EXPECT_EQ(folder.Read("a.json"), "old");
  EXPECT_EQ(folder.CountFiles(), 1);
}

TEST(CliOutput, RefusesTwoOutputsToOnePlace) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.Path("sub"));
  std::filesystem::create_directory_symlink(".", folder.Path("here"));
  std::filesystem::create_symlink("a.out", folder.Path("link"));
  for (const char* paths :
       {"--json a.out --csv ./a.out", "--json sub/../a.out --html a.out",
        "--json here/a.out --csv a.out", "--json a.out --csv link",
        "--json - --csv -", "--json a.out --csv a.out"}) {
    SCOPED_TRACE(paths);
    const ToolRun run = RunTool(folder, kSmall + std::string(paths));
    ExpectComplaint(run, "one place");
    EXPECT_FALSE(std::filesystem::exists(folder.Path("a.out")));
  }
}

TEST(CliOutput, KeepsItsInput) {
  const TemporaryFolder folder;
  const std::string capture = SmallCapture();
  folder.Write("in.st", capture);
  std::filesystem::create_symlink("in.st", folder.Path("link"));
  std::filesystem::create_hard_link(folder.Path("in.st"), folder.Path("hard"));
  for (const char* output : {"in.st", "./in.st", "link", "hard"}) {
    SCOPED_TRACE(output);
    ExpectComplaint(
        RunTool(folder,
                std::string("compare -q exact --input in.st --json ") + output),
        "is the input");
    ExpectComplaint(
        RunTool(folder, std::string("compare -q exact --json ") + output,
                "export HEED_SAMPLE=in.st;"),
        "is the input");
    EXPECT_EQ(folder.Read("in.st"), capture);
  }
}

TEST(CliOutput, WritesThroughSymbolicLinks) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.Path("sub"));
  folder.Write("sub/old", "old");
  std::filesystem::create_symlink("sub/old", folder.Path("to_old"));
  std::filesystem::create_symlink("sub/new", folder.Path("to_new"));
  const ToolRun run =
      RunTool(folder, kSmall + std::string("--json to_old --csv to_new"));
  EXPECT_EQ(run.exit_code, 0) << run.error;
  for (const char* name : {"to_old", "to_new"}) {
    EXPECT_TRUE(std::filesystem::is_symlink(folder.Path(name))) << name;
  }
  EXPECT_EQ(folder.Read("sub/old").substr(0, 1), "{");
  EXPECT_EQ(folder.Read("sub/new").substr(0, 5), "name,");
}

TEST(CliOutput, VariantsMayFollowLayers) {
  const TemporaryFolder folder;
  folder.Write("in", SmallCapture());
  const ToolRun run =
      RunTool(folder, "compare -q --input in --layers 3 exact naive");
  EXPECT_EQ(run.exit_code, 0) << run.error;
}

TEST(CliOutput, RefusesSeedsAndTokensThatDoNotApply) {
  const TemporaryFolder inputs;
  inputs.Write("in", SmallCapture());
  const std::string path = "'" + inputs.Path("in") + "'";
  ExpectBadInput("compare --problem h1_d8_q4 --seed -1", "--seed");
  ExpectBadInput("compare --problem h1_d8_q4 --seed 18446744073709551615",
                 "--seed");
  ExpectBadInput("compare --seed 3", "--problem");
  ExpectBadInput("compare --tokens 500 --input " + path, "tokens, not 500");
}

TEST(CliOutput, CountsTheProcessorsItMayUse) {
  const TemporaryFolder folder;
  const ToolRun run =
      RunTool(folder, std::string(kSmall) + "--threads 0", "taskset -c 0");
  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_TRUE(Has(run.out, " 1 thread\n")) << run.out;
  EXPECT_EQ(run.error, "");
}

// And says how many ran where more were asked for. oneTBB would complain of
// them on standard error.
TEST(CliOutput, SaysHowManyThreadsRan) {
  const TemporaryFolder folder;
  const ToolRun run =
      RunTool(folder, std::string(kSmall) + "--threads 7 --json a.json",
              "taskset -c 0");
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_TRUE(Has(run.out,
                  " 1 thread of 7 asked for, there being 1 processor to run "
                  "on\n"))
      << run.out;
  EXPECT_EQ(run.error, "");
  const std::string json = folder.Read("a.json");
  EXPECT_TRUE(Has(json, "\"threads\": 1,")) << json;
  EXPECT_TRUE(Has(json, "\"threads_asked\": 7")) << json;
}

}  // namespace
}  // namespace heed::test
