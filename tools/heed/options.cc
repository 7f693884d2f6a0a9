// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The only file that includes CLI11, which takes long to compile.
#include "tools/heed/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "heed/export.h"
#include "lib/eval/knob_sweep.h"
#include "tools/heed/numbers.h"
#include "tools/heed/results.h"
#include "tools/heed/text_table.h"

namespace heed::tool {
namespace {

constexpr int kUsageError = 2;

constexpr char kAbout[] =
    "heed: attention on CPUs, exact, sparse and linear, side by side";

constexpr char kExamples[] = R"(
Examples:
  heed compare
      every variant on queries, keys and values captured from a language model
  heed compare --html report.html
      the same, and a report to open in a browser
  heed compare window_sink:window=128,256,512:sink=4 block_topk
      some variants; comma-separated values make one row each
  heed compare --help
      what the columns mean, and how to bring your own tensors
Exit status: 0 fine, 1 a variant's result failed its check, 2 bad input, 3 a
number changed or a row is gone (--against).)";

constexpr char kCompareHelp[] = R"(
Variants are written name:knob=value:knob=value. A knob may list values,
"window_sink:window=256,512:sink=0,4" being four rows; knobs left out keep their
defaults ('heed variants' lists them). Without any variant all of them run at
their defaults, those that select keys also at a quarter, half and twice their
budget. `exact` always runs: it is what the others are compared with.

Input, one of:
  --input FILE.safetensors  tensors <prefix>query, <prefix>key, <prefix>value
      (or q, k, v) of F32, F16 or BF16, for one layer or many, such as
      layer.7.query or attn_7_q; a prefix ends with one of . _ / -
      Query is [seqlen, num_heads, head_dim]; key and value may have fewer
      heads. A batch axis may stand in front. Metadata causal, softmax_scale,
      softcap, window_left, window_right and sink_size are what was computed,
      where --causal, --scale, --softcap, --window-left and --sink don't say
      otherwise.
  --problem TEXT  random tensors, such as b1_h8_kv2_d64_q1024_f32_causal
  neither  the built-in sample: four layers of a small language model

Views:
  --queries N  decodes the last N tokens one by one, each over the keys that
      were there before it and its own: time, speed and KV bytes of a token
  --tokens 512-4096  compares at 512, 1024, 2048 and 4096 tokens (or at those of
      a list). growth is the power of the length that the time grows with, 1 for
      what is linear and 2 for what is quadratic. pays from is the length where
      a variant's time falls below exact's and stays there, read off straight
      lines between logarithms, and in brackets the same with both times moved
      apart and together by their spreads
  --at mass=0.95, --at rel_l2=0.01  compares at one quality: each variant that
      selects keys takes the smallest budget that reaches it as a mean over the
      layers, its other knobs staying as given (its budget is the first knob
      that 'heed variants' says can be exact; strided, which keeps everything by
      short and by long strides, has none). With several --tokens the budgets are
      searched at the longest, and serve all lengths
  --by layer, --by head  shows each layer, or the heads with the largest errors:
      a sparse method fails on few
  --time-budget SECONDS  starts no new row once so many seconds are spent, and
      says which rows were left out; exact always runs
  --resume FILE.json  takes the rows that an earlier run of the same input,
      version, machine, threads and repeats left there and runs the others; a
      FILE that does not exist yet begins empty. With either, each row is timed
      beside exact in rounds of its own, and the JSON is written after each
  --against OLD.json  says what changed since an earlier run on the same input:
      times of rows by more than the rounds of both runs explain (of 5 rounds or
      more, not noisy, on the same CPU, threads and kernel; at most one
      comparison in twenty names a row by noise from round to round alone); any
      other number, of rows, layers, heads and row_rel_l2; and which rows only
      one of them has.
      The exit status is 3 where something changed or a row is gone

Columns (tables show some; --wide all; --json and --csv also hold
every layer by itself, under the names in parentheses):
)";

constexpr char kCompareExamples[] = R"(
Examples:
  heed compare --layers 2,19-28 --repeats 9 --csv out.csv
  heed compare exact naive --problem b1_h8_d64_q2048_f32_causal --threads 1
  heed compare --input mine.safetensors --layout bhsd --no-causal
  heed compare --queries 8 window_sink block_topk
  heed compare --tokens 128-1024 --html lengths.html
  heed compare window_sink:window=64 --by head
  heed compare --at mass=0.95 window_sink block_topk:block=16,64
  heed compare block_topk --json - | python3 -m json.tool
  heed compare --against old.json --json new.json)";

constexpr char kMergeHelp[] = R"(
Runs of one version on one input, with the same --queries and --at, are joined:
each row once. Errors, mass, density, operations and bytes must agree, wherever
they were computed (in double, a millionth aside). Times belong to a machine
(CPU, kernel, threads, rounds): the first file's machine is that of the whole,
and others' times stand beside it. Of a row that was timed twice on one machine
the first times are kept. Speed-ups stay those to exact in the same run; the
frontier is found anew. What is mixed is refused by file and field.

Example:
  heed merge one.json two.json --json all.json --html all.html)";

// "  x exact    (speedup) time of ...", indented where it goes on.
std::string Entry(const std::string& name, const std::string& text) {
  constexpr size_t kIndent = 13;
  std::string lines = WrapText(text, kTableWidth - kIndent);
  for (size_t at = 0; (at = lines.find('\n', at)) + 1 < lines.size(); ++at) {
    lines.insert(at + 1, kIndent, ' ');
  }
  std::string head = "  " + name;
  head.resize(std::max(head.size() + 1, kIndent), ' ');
  return head + lines;
}

std::string CompareHelp() {
  std::string text = kCompareHelp;
  for (const NumberInfo& number : Numbers()) {
    text += Entry(number.heading,
                  "(" + std::string(number.key) + ") " + number.meaning);
  }
  for (const FlagInfo& flag : Flags()) {
    text += Entry(flag.sign, "(" + std::string(flag.key) + ") " + flag.meaning);
  }
  return text + kCompareExamples;
}

// A shell variable that was never set gives an empty name; it must not mean
// that the option is absent.
std::string RefuseEmpty(const std::string& name) {
  return name.empty() ? "the name is empty" : "";
}

// What f32 rounds to 0 must not mean what 0 does.
std::string RefuseUnderflow(const std::string& number) {
  errno = 0;
  const bool zero = std::strtof(number.c_str(), nullptr) == 0.0f;
  return zero && errno == ERANGE ? number + " is too small for f32" : "";
}

std::string RefuseNoDuration(const std::string& number) {
  char* end = nullptr;
  const double seconds = std::strtod(number.c_str(), &end);
  const bool sound =
      !number.empty() && *end == '\0' && seconds >= 0 && seconds <= 1e9;
  return sound ? "" : "it needs seconds from 0 to 1e9, not '" + number + "'";
}

// What is read from a file, and how; a problem string says it all itself.
void AddFileOptions(CLI::App& compare, CLI::Option& problem, Options& options) {
  const auto number = [&](const char* name, auto& place, const char* what) {
    return compare.add_option(name, place, what)->excludes(&problem);
  };
  constexpr int64_t kMost = int64_t{1} << 31;
  number("--layers", options.layers,
         "Only these layers of the file, such as 2,19-28")
      ->check(RefuseEmpty);
  number("--heads", options.heads,
         "Only these query heads, such as 0-2, and the key heads they read")
      ->check(RefuseEmpty);
  number("--scale", options.params.softmax_scale,
         "What scores are multiplied by; 0 is 1/sqrt(head_dim) (default: what "
         "the file says, or 0)")
      ->check(RefuseUnderflow);
  number("--softcap", options.params.softcap,
         "Scores become softcap * tanh(score / softcap); 0 is off")
      ->check(RefuseUnderflow);
  number("--window-left", options.params.window_left,
         "Keys that a row sees before its own position; -1 is all")
      ->check(CLI::Range(int64_t{-1}, kMost));
  number("--sink", options.params.sink_size,
         "First keys that a window leaves visible")
      ->check(CLI::Range(int64_t{0}, kMost));
  compare
      .add_flag_callback(
          "--causal", [&] { options.params.causal = true; },
          "Row i sees keys up to its own position "
          "(default: what the file says, or yes)")
      ->excludes(&problem);
  compare
      .add_flag_callback(
          "--no-causal", [&] { options.params.causal = false; },
          "Every row sees every key")
      ->excludes(&problem)
      ->excludes("--causal");
}

void AddCompare(CLI::App& app, Options& options) {
  CLI::App* compare =
      app.add_subcommand("compare", "Run variants side by side");
  compare->footer(CompareHelp());
  compare->add_option("variants", options.variants,
                      "name[:knob=value[,value]]...");
  auto* input = compare
                    ->add_option("--input", options.input,
                                 "Safetensors file of captured tensors")
                    ->check(RefuseEmpty);
  auto* problem = compare
                      ->add_option("--problem", options.problem,
                                   "Synthetic problem instead of a file")
                      ->check(RefuseEmpty);
  problem->excludes(input);
  AddFileOptions(*compare, *problem, options);
  compare
      ->add_option("--tokens", options.tokens,
                   "Only the first so many positions, or a problem of so many; "
                   "several, such as 512,1024 or 512-4096, are a sweep of "
                   "lengths")
      ->check(RefuseEmpty);
  compare
      ->add_option("--queries", options.queries,
                   "Decode the last so many tokens one by one")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  compare
      ->add_option("--layout", options.layout,
                   "Axes of the tensors: bshd is [seqlen, heads, head_dim], "
                   "bhsd [heads, seqlen, head_dim]")
      ->check(CLI::IsMember({"bshd", "bhsd"}))
      ->capture_default_str();
  compare
      ->add_option("--threads", options.threads,
                   "Threads; 0 takes all processors")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  compare
      ->add_option("--seed", options.seed, "Of the synthetic problem's numbers")
      // What every reader of JSON holds exactly.
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 53))
      ->needs(problem)
      ->capture_default_str();
  compare->add_option("--repeats", options.repeats, "Timed rounds")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  compare
      ->add_option("--json", options.json_path,
                   "Write everything as JSON; - for standard output")
      ->check(RefuseEmpty);
  compare
      ->add_option("--csv", options.csv_path,
                   "Write a line for each row and layer; - for standard output")
      ->check(RefuseEmpty);
  compare
      ->add_option("--html", options.html_path,
                   "Write a report: one file, opens without a network")
      ->check(RefuseEmpty);
  compare
      ->add_option("--at", options.at,
                   "Search the budgets that reach mass=X or rel_l2=X, and "
                   "compare there")
      ->check(RefuseEmpty);
  compare
      ->add_option("--by", options.by,
                   "Rows of the table: variants, each of their layers, or the "
                   "heads on which each does worst")
      ->check(CLI::IsMember({"variant", "layer", "head"}))
      ->capture_default_str();
  compare
      ->add_option("--time-budget", options.time_budget,
                   "Start no new row after so many seconds")
      ->check(RefuseNoDuration);
  compare
      ->add_option("--resume", options.resume,
                   "JSON of an interrupted run: take its rows, run the others, "
                   "write after each (to --json, else into the same file)")
      ->check(RefuseEmpty);
  compare
      ->add_option("--against", options.against,
                   "JSON of an earlier run: say what changed beyond noise")
      ->check(RefuseEmpty);
  auto* wide = compare->add_flag("--wide", options.wide,
                                 "All columns, full names and all heads");
  compare->add_flag("--narrow", options.narrow, "Tables of at most 40 columns")
      ->excludes(wide);
  compare->add_flag("--quiet,-q", options.quiet, "No progress");
  compare->callback([&] { options.command = Command::kCompare; });
}

void AddMerge(CLI::App& app, Options& options) {
  CLI::App* merge = app.add_subcommand(
      "merge", "Join the JSON of many runs, or machines, into one");
  merge->footer(kMergeHelp);
  merge->add_option("files", options.files, "Written by compare --json")
      ->required()
      ->check(RefuseEmpty);
  merge
      ->add_option("--json", options.json_path,
                   "Write the joined run; - for standard output")
      ->check(RefuseEmpty);
  merge->add_option("--html", options.html_path, "Write its report")
      ->check(RefuseEmpty);
  merge->callback([&] { options.command = Command::kMerge; });
}

// CLI11 breaks no line. Where an option's text begins, its next lines do.
std::string WrapHelp(const std::string& text) {
  std::string wrapped;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (line.size() <= kTableWidth) {
      wrapped += line + "\n";
      continue;
    }
    size_t indent = std::min(line.find_first_not_of(' '), line.size());
    const size_t gap = line.find("  ", indent);
    if (gap != std::string::npos) indent = line.find_first_not_of(' ', gap);
    if (gap == std::string::npos && indent < 6) indent = 6;  // an option alone
    const std::string lines =
        WrapText(line.substr(indent), kTableWidth - indent);
    std::string head = line.substr(0, indent);
    for (size_t at = 0, stop; at < lines.size(); at = stop + 1) {
      stop = lines.find('\n', at);
      wrapped += head + lines.substr(at, stop - at) + "\n";
      head.assign(indent, ' ');
    }
  }
  return wrapped;
}

// CLI11 says some things over several lines; errors here are one sentence.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) {
    text.pop_back();
  }
  return text;
}

// "unknown command 'x'; did you mean 'y'?"
std::string Unknown(const std::string& kind, const std::string& name,
                    const std::vector<std::string>& names) {
  const std::string nearest = eval::NearestName(name, names);
  std::string text = "unknown " + kind + " '" + name + "'";
  if (!nearest.empty()) text += "; did you mean '" + nearest + "'?";
  return text;
}

// Returns what is wrong with the first command or option that does not exist;
// "" where all of them do. CLI11 does not suggest names.
std::string FindUnknown(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  std::vector<std::string> names;
  const CLI::App* chosen = nullptr;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    names.push_back(command->get_name());
    if (names.back() == argv[1]) chosen = command;
  }
  if (chosen == nullptr) return Unknown("command", argv[1], names);
  names.clear();
  for (const CLI::Option* option : chosen->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  for (int i = 2; i < argc; ++i) {
    std::string name = argv[i];
    name = name.substr(0, name.find('='));
    if (name.size() < 3 || !name.starts_with("--")) continue;
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Unknown("option", name, names);
    }
  }
  return "";
}

// "heed help compare" means "heed compare --help". Throws CLI11's call for
// help, or returns what is wrong with the command.
std::string CallForHelp(CLI::App& app, const std::string& topic) {
  std::vector<std::string> arguments = {"--help"};
  if (!topic.empty()) {
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands(nullptr)) {
      names.push_back(command->get_name());
    }
    if (std::find(names.begin(), names.end(), topic) == names.end()) {
      return Unknown("command", topic, names);
    }
    arguments.push_back(topic);  // CLI11 takes them last first
  }
  app.parse(arguments);
  return "";
}

}  // namespace

bool ParseOptions(int argc, char** argv, Options* options, int* exit_code) {
  CLI::App app(kAbout, "heed");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       "heed " + std::to_string(HEED_VERSION_MAJOR) + "." +
                           std::to_string(HEED_VERSION_MINOR) + "." +
                           std::to_string(HEED_VERSION_PATCH));
  CLI::App* info = app.add_subcommand(
      "info", "This CPU, the kernels for it, and why each is used or not");
  info->add_flag("--json", options->json, "As JSON");
  info->callback([&] { options->command = Command::kInfo; });
  CLI::App* variants = app.add_subcommand(
      "variants", "The variants of this build, their papers and knobs");
  variants->add_flag("--json", options->json, "As JSON");
  variants->callback([&] { options->command = Command::kVariants; });
  AddCompare(app, *options);
  AddMerge(app, *options);
  std::string topic;
  CLI::App* help = app.add_subcommand("help", "This, or the help of a command");
  help->add_option("command", topic, "Which");
  if (argc <= 1) {
    std::fputs(WrapHelp(app.help()).c_str(), stderr);
    *exit_code = kUsageError;
    return false;
  }
  try {
    app.parse(argc, argv);
    if (!help->parsed()) return true;
    const std::string what = CallForHelp(app, topic);
    std::fprintf(stderr, "heed: %s\n", what.c_str());
    *exit_code = kUsageError;
  } catch (const CLI::Success& success) {  // help or version
    std::ostringstream out, error;
    *exit_code = app.exit(success, out, error);
    std::fputs(WrapHelp(out.str()).c_str(), stdout);
  } catch (const CLI::Error& error) {
    std::string what = FindUnknown(app, argc, argv);
    if (what.empty()) {
      what = OneLine(error.what()) + "; see 'heed ";
      for (const CLI::App* command : app.get_subcommands()) {
        what += command->get_name() + " ";
      }
      what += "--help'";
    }
    std::fprintf(stderr, "heed: %s\n", what.c_str());
    *exit_code = kUsageError;
  }
  return false;
}

}  // namespace heed::tool
