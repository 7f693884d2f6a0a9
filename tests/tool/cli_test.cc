// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line from outside: what it prints, where, and how it ends.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "lib/io/json.h"
#include "tests/support/temporary_file.h"
#include "tests/tool/tool_run.h"

namespace heed::test {
namespace {

constexpr char kSmall[] =
    "compare -q --repeats 2 --problem b1_h2_d16_q100_f32_causal ";

// Collects every key of a JSON text, or fails the test where it is not JSON.
class Keys : public io::JsonHandler {
 public:
  explicit Keys(const std::string& text) { io::ParseJson(text, this); }
  int Count(const std::string& key) const {
    const auto it = keys_.find(key);
    return it == keys_.end() ? 0 : it->second;
  }

 private:
  void StartObject() override {}
  void EndObject() override {}
  void StartArray() override {}
  void EndArray() override {}
  void Key(const std::string& key) override { ++keys_[key]; }
  void String(const std::string&) override {}
  void Unsigned(uint64_t) override {}
  void Other(const char*) override {}

  std::map<std::string, int> keys_;
};

TEST(Cli, ShowsTheTable) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(folder, kSmall);
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(run.error, "");
  for (const char* part : {"variant",
                           "time ms",
                           "+-",
                           "x exact",
                           "GFLOP",
                           "MB",
                           "work KiB",
                           "density",
                           "mass",
                           "p05",
                           "rel L2",
                           "max abs",
                           "cosine",
                           "gate",
                           "\nexact ",
                           "\nnaive ",
                           "\nlinear_elu:",
                           "\nblock_topk:",
                           "\nwindow_sink:",
                           "  ok",
                           "  *\n"}) {
    EXPECT_TRUE(Has(run.out, part)) << part;
  }
}

TEST(Cli, ShowsProgressOnStandardError) {
  const TemporaryFolder folder;
  const ToolRun run =
      RunTool(folder, "compare exact --problem b1_h1_d8_q20 --repeats 1");
  EXPECT_TRUE(Has(run.error, "[  0%] elapsed 0:00, left")) << run.error;
  EXPECT_FALSE(Has(run.out, "elapsed"));
}

TEST(Cli, SweepsKnobs) {
  const TemporaryFolder folder;
  const ToolRun run =
      RunTool(folder, std::string(kSmall) + "window_sink:window=8,16:sink=0,2");
  EXPECT_EQ(run.exit_code, 0);
  for (const char* row :
       {"window_sink:window=8:sink=0 ", "window_sink:window=8:sink=2 ",
        "window_sink:window=16:sink=0 ", "window_sink:window=16:sink=2 "}) {
    EXPECT_TRUE(Has(run.out, row)) << row;
  }
}

TEST(Cli, WritesEveryFile) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(
      folder, std::string(kSmall) + "--json a.json --csv a.csv --html a.html");
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(folder.CountFiles(), 3);
  EXPECT_TRUE(Has(run.out, "Report: a.html"));
  const Keys json(folder.Read("a.json"));
  for (const char* key : {"environment", "cpu", "command", "target", "threads",
                          "problem", "repeats", "compiler", "version"}) {
    EXPECT_EQ(json.Count(key), 1) << key;
  }
  EXPECT_GE(json.Count("seed"), 1);  // knobs may be called so too
  for (const char* key : {"seconds", "flops", "bytes", "workspace_bytes",
                          "density", "mass_mean", "mass_p05", "rel_l2",
                          "max_abs", "cosine", "gate", "speedup", "pareto"}) {
    EXPECT_GE(json.Count(key), 5) << key;
  }
  const std::string csv = folder.Read("a.csv");
  EXPECT_EQ(csv.substr(0, csv.find('\n')),
            "name,variant,layer,problem,gate,seconds_median,seconds_mad,rounds,"
            "speedup,flops,bytes,workspace_bytes,density,mass_mean,mass_p05,"
            "rel_l2,max_abs,cosine,pareto,reason");
  EXPECT_TRUE(Has(csv, "\nexact,exact,all,,ok,"));
  const std::string html = folder.Read("a.html");
  EXPECT_TRUE(Has(html, "<!DOCTYPE html>"));
  EXPECT_TRUE(Has(html, "heed-compare-1"));
  EXPECT_FALSE(Has(html, "HEED_REPORT_"));
  EXPECT_FALSE(Has(html, "<script src"));
  EXPECT_FALSE(Has(html, "<link"));
}

TEST(Cli, WritesToStandardOutputAlone) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(folder, std::string(kSmall) + "exact --json -");
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(Keys(run.out).Count("rows"), 2);  // of the input, of the result
  EXPECT_EQ(folder.CountFiles(), 0);
}

TEST(Cli, TellsWhatTheMachineOffers) {
  const TemporaryFolder folder;
  const ToolRun info = RunTool(folder, "info");
  EXPECT_EQ(info.exit_code, 0);
  EXPECT_TRUE(Has(info.out, "cpu "));
  EXPECT_TRUE(Has(info.out, "  > "));
  EXPECT_TRUE(Has(info.out, "used: "));
  EXPECT_EQ(Keys(RunTool(folder, "info --json").out).Count("targets"), 1);
  const ToolRun variants = RunTool(folder, "variants");
  EXPECT_TRUE(Has(variants.out, "window_sink\n"));
  EXPECT_TRUE(Has(variants.out, "default 256"));
  EXPECT_GE(Keys(RunTool(folder, "variants --json").out).Count("knobs"), 5);
}

TEST(Cli, Teaches) {
  const TemporaryFolder folder;
  EXPECT_TRUE(Has(RunTool(folder, "--help").out, "Examples:"));
  EXPECT_TRUE(Has(RunTool(folder, "compare --help").out, "density   pairs"));
  EXPECT_TRUE(Has(RunTool(folder, "--version").out, "heed 0."));
  const ToolRun bare = RunTool(folder, "");
  EXPECT_EQ(bare.exit_code, 2);
  EXPECT_TRUE(Has(bare.error, "Subcommands:"));
}

TEST(Cli, SuggestsNames) {
  ExpectBadInput("compar", "did you mean 'compare'?");
  ExpectBadInput("compare --layrs 2", "did you mean '--layers'?");
  ExpectBadInput("info --jsn", "did you mean '--json'?");
  ExpectBadInput("compare window_snk --html x.html",
                 "did you mean 'window_sink'?");
  ExpectBadInput("compare window_sink:windw=3", "did you mean 'window'?");
}

TEST(Cli, RefusesBadOptions) {
  ExpectBadInput("compare --threads -1", "not in range");
  ExpectBadInput("compare --threads abc", "--threads");
  ExpectBadInput("compare --tokens 0", "not in range");
  ExpectBadInput("compare --layout foo", "{bshd,bhsd}");
  ExpectBadInput("compare --problem b1_h1_d8_q4 --tokens 3", "excludes");
  ExpectBadInput("compare --causal --no-causal", "excludes");
  ExpectBadInput("compare --problem b1_h4 --html x.html", "lacks the field");
  ExpectBadInput("compare -q --problem b1_h1_d0_q4 --html x.html",
                 "exact attention refused");
  ExpectBadInput("compare --problem b9999_h9999_d999_q9999", "too large");
}

}  // namespace
}  // namespace heed::test
