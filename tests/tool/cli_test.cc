// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line from outside: what it prints, where, and how it ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "lib/io/json.h"
#include "tests/support/temporary_file.h"
#include "tests/tool/tool_run.h"

namespace heed::test {
namespace {

constexpr char kSmall[] =
    "compare -q --repeats 1 --problem b1_h1_d8_q40_f32_causal ";

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

constexpr char kSome[] = "naive linear_elu block_topk window_sink ";

TEST(Cli, ShowsTheTable) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(folder, std::string(kSmall) + kSome + "--wide");
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
                           " ok",
                           "  *\n"}) {
    EXPECT_TRUE(Has(run.out, part)) << part;
  }
}

size_t LongestLine(const std::string& text) {
  size_t longest = 0, begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    longest = std::max(longest, end - begin);
  }
  return longest;
}

// Names that are too long stand above their line; reasons are broken.
TEST(Cli, FitsTheTableIntoATerminal) {
  const TemporaryFolder folder;
  for (const char* more :
       {"", "--queries 2", "block_topk:block=17:total_blocks=123456789",
        "block_topk:block=17:total_blocks=123456789 --queries 1",
        "window_sink:window=2147483646:sink=2147483646 --threads 4096"}) {
    SCOPED_TRACE(more);
    const ToolRun run = RunTool(folder, std::string(kSmall) + more);
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_GT(LongestLine(run.out), 40u);
    EXPECT_LE(LongestLine(run.out), 80u) << run.out;
  }
  const ToolRun refused = RunTool(
      folder,
      "compare -q --repeats 1 --problem b1_h1_d8_q20_causal_wl3 linear_elu");
  EXPECT_TRUE(Has(refused.out, "  refused\n")) << refused.out;
  EXPECT_LE(LongestLine(refused.out), 80u) << refused.out;
}

TEST(Cli, FitsTheTableIntoFortyColumns) {
  const TemporaryFolder folder;
  for (const char* more :
       {"", "--queries 2 --by layer", "--by head",
        "block_topk:block=17:total_blocks=123456789 --tokens 8-64",
        "window_sink:window=8 --at mass=0.5 --time-budget 0"}) {
    SCOPED_TRACE(more);
    const ToolRun run =
        RunTool(folder, std::string(kSmall) + "--narrow " + more);
    EXPECT_EQ(run.exit_code, 0) << run.error;
    EXPECT_TRUE(Has(run.out, "  x exact  ")) << run.out;
    EXPECT_GT(LongestLine(run.out), 30u);
    EXPECT_LE(LongestLine(run.out), 40u) << run.out;
  }
  ExpectBadInput("compare --narrow --wide", "excludes");
}

// Three tables: times, growth, and the longest length as ever.
TEST(Cli, SweepsLengths) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(
      folder,
      "compare --repeats 1 --problem b1_h1_d8_q1_causal naive window_sink "
      "--tokens 8-32,50,60,70 --csv a.csv");
  EXPECT_EQ(run.exit_code, 0);
  for (const char* part :
       {"time ms at ", " 8 ", " 16 ", " 32 ", " 50 ", " 60\n", " 70\n",
        "\nall lengths ", " growth ", " pays from\n", "\nAt 70 tokens:\n"}) {
    EXPECT_TRUE(Has(run.out, part)) << part << run.out;
  }
  EXPECT_LE(LongestLine(run.out), 80u) << run.out;
  EXPECT_TRUE(Has(run.error, " at 8 tokens\n")) << run.error;
  const std::string csv = folder.Read("a.csv");
  for (const char* length : {"8", "16", "32", "50", "60", "70"}) {
    EXPECT_TRUE(
        Has(csv, std::string("\nexact,exact,") + length + ",all,,,ok,"));
  }
  // Where tokens are decoded, times are those of one.
  const ToolRun decoded = RunTool(folder,
                                  "compare -q --repeats 1 --queries 3 exact "
                                  "--problem b1_h1_d8_q1_causal --tokens 8-16");
  EXPECT_TRUE(Has(decoded.out, "ms/token at ")) << decoded.out;
  EXPECT_FALSE(Has(decoded.out, "time ms at ")) << decoded.out;
}

TEST(Cli, ShowsLayersAndHeads) {
  const TemporaryFolder folder;
  const std::string some =
      "compare -q --repeats 1 --tokens 64 --layers 2,10 window_sink:window=8 ";
  const ToolRun layers = RunTool(folder, some + "--by layer");
  EXPECT_EQ(layers.exit_code, 0);
  for (const char* part : {"\nby layer ", "\nwindow_sink:window=8\n",
                           "\n  layer.2 ", "\n  layer.10 "}) {
    EXPECT_TRUE(Has(layers.out, part)) << part;
  }
  const ToolRun heads = RunTool(folder, some + "--by head --csv a.csv");
  EXPECT_EQ(heads.exit_code, 0);
  for (const char* part :
       {"\nby head, worst first ", " head 0 ", "\n  the middle one of 18 "}) {
    EXPECT_TRUE(Has(heads.out, part)) << part << heads.out;
  }
  EXPECT_LE(LongestLine(heads.out), 80u);
  const std::string csv = folder.Read("a.csv");
  EXPECT_TRUE(Has(csv, ",window_sink,64,layer.10,8,"));
  const size_t header = csv.find('\n');
  const size_t line = csv.find(",window_sink,64,layer.10,8,");
  const std::string text = csv.substr(line, csv.find('\n', line) - line);
  EXPECT_EQ(std::count(text.begin(), text.end(), ','),
            std::count(csv.begin(), csv.begin() + header, ','));
  const ToolRun all = RunTool(folder, some + "--by head --wide");
  for (const char* part : {"\n  layer.2 head 8 ", "\n  layer.10 head 0 "}) {
    EXPECT_TRUE(Has(all.out, part)) << part;
  }
}

TEST(Cli, SearchesBudgets) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(
      folder, std::string(kSmall) +
                  "--at mass=0.9 window_sink block_topk:block=8,16 --csv -");
  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_TRUE(Has(run.out, "\nwindow_sink:window="));
  EXPECT_TRUE(Has(run.out, "\nblock_topk:block=8:total_blocks="));
  EXPECT_TRUE(Has(run.out, "\nblock_topk:block=16:total_blocks="));
  const ToolRun table = RunTool(
      folder, std::string(kSmall).replace(0, 7, "compare --at rel_l2=0.1"));
  EXPECT_EQ(table.exit_code, 0) << table.error;
  EXPECT_TRUE(Has(table.out,
                  "\nbudgets are the smallest that reach "
                  "rel_l2=0.1\n"));
  EXPECT_TRUE(Has(table.out, "\nlinear_elu "));
  // In a sweep at its longest length.
  const ToolRun swept =
      RunTool(folder,
              "compare -q --repeats 1 --at mass=0.9 --problem "
              "b1_h1_d8_q8_causal window_sink --tokens 16,32");
  EXPECT_TRUE(Has(swept.out, "that reach mass=0.9 at 32 tokens\n"))
      << swept.out;
  const ToolRun missed =
      RunTool(folder,
              "compare -q --at rel_l2=1e-12 --repeats 1 "
              "--problem b1_h1_d8_q20_causal_wl3 window_sink");
  EXPECT_EQ(missed.exit_code, 0);
  EXPECT_TRUE(Has(missed.out,
                  "\nno budget of window_sink:window=256:sink=4 reaches "
                  "rel_l2=1e-12\n"))
      << missed.out;
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
  // A narrow table leaves out knobs at their defaults.
  EXPECT_TRUE(Has(
      RunTool(folder, std::string(kSmall) + "window_sink:window=8,256:sink=4,5")
          .out,
      "\nwindow_sink:window=8 "));
  for (const char* row :
       {"window_sink:window=8:sink=0 ", "window_sink:window=8:sink=2 ",
        "window_sink:window=16:sink=0 ", "window_sink:window=16:sink=2 "}) {
    EXPECT_TRUE(Has(run.out, row)) << row;
  }
}

TEST(Cli, WritesEveryFile) {
  const TemporaryFolder folder;
  const ToolRun run =
      RunTool(folder, std::string(kSmall) + kSome +
                          "--json a.json --csv a.csv --html a.html");
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
  EXPECT_EQ(
      csv.substr(0, csv.find('\n')),
      "name,variant,tokens,layer,head,problem,gate,rounds,time,token_time,mad,"
      "spread,"
      "tokens_per_second,speedup,flops,select_flops,bytes,kv_bytes,"
      "token_kv_bytes,workspace_bytes,density,mass_mean,mass_p05,rel_l2,"
      "max_abs,cosine,cost_recorded,noisy,beaten_by_zeros,pareto,"
      "growth,efficiency_length,efficiency_shortest,efficiency_longest,"
      "reason");
  EXPECT_TRUE(Has(csv, "\nexact,exact,,all,,,ok,"));
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
  const std::string help = RunTool(folder, "--help").out;
  EXPECT_TRUE(Has(help, "Examples:"));
  EXPECT_EQ(RunTool(folder, "help").out, help);
  EXPECT_LE(LongestLine(RunTool(folder, "").error), 80u);
  for (const char* command : {"help", "help info", "help variants",
                              "help compare", "help merge", "help capture"}) {
    const std::string text = RunTool(folder, command).out;
    EXPECT_GT(LongestLine(text), 40u) << command;
    EXPECT_LE(LongestLine(text), 80u) << command << text;
  }
  const ToolRun compare = RunTool(folder, "help compare");
  EXPECT_EQ(compare.exit_code, 0);
  EXPECT_EQ(compare.out, RunTool(folder, "compare --help").out);
  EXPECT_TRUE(Has(compare.out, "density    (density) pairs kept"));
  EXPECT_TRUE(Has(RunTool(folder, "--version").out, "heed 0."));
  const ToolRun bare = RunTool(folder, "");
  EXPECT_EQ(bare.exit_code, 2);
  EXPECT_TRUE(Has(bare.error, "Subcommands:"));
}

TEST(Cli, SaysWhereCaptureIs) {
  ExpectBadInput("capture model --text x.txt --out y", "the Python package");
}

TEST(Cli, SuggestsNames) {
  ExpectBadInput("compar", "did you mean 'compare'?");
  ExpectBadInput("help compar", "did you mean 'compare'?");
  ExpectBadInput("compare --layrs 2", "did you mean '--layers'?");
  ExpectBadInput("info --jsn", "did you mean '--json'?");
  ExpectBadInput("compare window_snk --html x.html",
                 "did you mean 'window_sink'?");
  ExpectBadInput("compare window_sink:windw=3", "did you mean 'window'?");
}

TEST(Cli, RefusesBadOptions) {
  ExpectBadInput("compare --threads -1", "not in range");
  ExpectBadInput("compare --threads abc", "--threads");
  ExpectBadInput("compare --tokens 0", "in [1, ");
  ExpectBadInput("compare --tokens 512,,1024 --html x.html", "not '512,,1024'");
  ExpectBadInput("compare -q --tokens 64,99999 --html x.html",
                 "tokens, not 99999");
  ExpectBadInput("compare --layout foo", "{bshd,bhsd}");
  ExpectBadInput("compare --layers 2,,10 --html x.html", "not '2,,10'");
  ExpectBadInput("compare --layers ''", "the name is empty");
  ExpectBadInput("compare --heads 3-1 --html x.html", "not '3-1'");
  ExpectBadInput("compare -q --heads 8-9 --html x.html", "not 8-9");
  ExpectBadInput("compare -q --heads 0-3 --html x.html", "on key head 1");
  ExpectBadInput("compare --at mass=2 --html x.html", "not 'mass=2'");
  ExpectBadInput("compare --at ''", "the name is empty");
  ExpectBadInput("compare --by row", "{variant,layer,head}");
  ExpectBadInput("compare --queries 0", "not in range");
  ExpectBadInput("compare -q --tokens 9 --queries 10 --html x.html",
                 "9 query rows, not 10");
  ExpectBadInput("compare --window-left -2", "not in range");
  ExpectBadInput("compare --sink -1", "not in range");
  ExpectBadInput("compare --scale 1x", "--scale");
  ExpectBadInput("compare -q --scale nan --html x.html", "softmax_scale");
  ExpectBadInput("compare -q --softcap -1 --html x.html", "softcap");
  ExpectBadInput("compare --scale 1e-60", "1e-60 is too small for f32");
  ExpectBadInput("compare --softcap 1e-60", "1e-60 is too small for f32");
  ExpectBadInput("compare --repeats 0", "see 'heed compare --help'");
  ExpectBadInput("compare --problem b1_h1_d8_q4 --softcap 3", "excludes");
  ExpectBadInput("compare --problem b1_h1_d8_q4 --heads 0", "excludes");
  ExpectBadInput("compare --problem b1_h1_d8_q4_k8 --tokens 3",
                 "--tokens sets both");
  ExpectBadInput("compare --causal --no-causal", "excludes");
  ExpectBadInput("compare --problem b1_h4 --html x.html", "lacks the field");
  ExpectBadInput("compare -q --problem b1_h1_d0_q4 --html x.html",
                 "problem 'b1_h1_d0_q4': invalid argument: head_dim");
  for (const char* heads : {"h3_kv2", "h2_kv4", "h3_kv0"}) {
    ExpectBadInput(
        "compare -q --html x.html --problem b1_d8_q4_" + std::string(heads),
        "must be a multiple of num_kv_heads");
  }
  ExpectBadInput("compare --problem b9999_h9999_d999_q9999",
                 "GiB of memory, and the machine has");
}

}  // namespace
}  // namespace heed::test
