// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The only file that includes CLI11, which takes long to compile.
#include "tools/heed/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "heed/export.h"
#include "lib/eval/knob_sweep.h"

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
Exit status: 0 fine, 1 a variant's result failed its check, 2 bad input.)";

constexpr char kCompareHelp[] = R"(
Variants are written name:knob=value:knob=value. A knob may list values,
"window_sink:window=256,512:sink=0,4" being four rows; knobs left out keep their
defaults ('heed variants' lists them). Without any variant all of them run at
their defaults, those that select keys also at a quarter, half and twice their
budget. `exact` always runs: it is what the others are compared with.

Input, one of:
  --input FILE.safetensors  tensors <prefix>query, <prefix>key, <prefix>value
      (or q, k, v) of F32, F16 or BF16, for one layer or many, such as
      layer.7.query. Query is [seqlen, num_heads, head_dim]; key and value
      may have fewer heads. A batch axis may stand in front.
  --problem TEXT  random tensors, such as b1_h8_kv2_d64_q1024_f32_causal
  neither  the built-in sample: four layers of a small language model

Columns:
  time      median over the rounds, all layers together; +- is the median
            absolute deviation. In a round every row runs once.
  x exact   time of `exact` over this one's, same threads, same run
  GFLOP     operations by the variant's own formula (multiply and add: two)
  MB        bytes it must read and write, by its formula
  work KiB  most memory it asked for beside its inputs and output
  density   pairs kept / pairs that the masks allow
  mass, p05 share of the exact attention weights that the kept keys hold,
            exp(lse - lse_exact): mean over rows, and 5th percentile
  rel L2    |out - truth| / |truth| against attention in double precision
  max abs, cosine  of the same
  gate      ok: the result holds what its variant promises, checked before
            any time is shown; else the reason stands below the table
  *         on the frontier: nothing else is both faster and more accurate
            (errors up to twice that of `exact` are rounding, and the same)
Over layers: time, GFLOP and MB are sums, work and max abs maxima, the rest
means. --json and --csv hold every layer by itself.

Examples:
  heed compare --layers 2,28 --repeats 9 --csv out.csv
  heed compare exact naive --problem b1_h8_d64_q2048_f32_causal --threads 1
  heed compare --input mine.safetensors --layout bhsd --no-causal
  heed compare block_topk --json - | python3 -m json.tool)";

// A shell variable that was never set gives an empty name; it must not mean
// that the option is absent.
std::string RefuseEmpty(const std::string& name) {
  return name.empty() ? "the name is empty" : "";
}

void AddCompare(CLI::App& app, Options& options) {
  CLI::App* compare =
      app.add_subcommand("compare", "Run variants side by side");
  compare->footer(kCompareHelp);
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
  compare
      ->add_option("--layers", options.layers,
                   "Only these layers of the file, such as 2,28")
      ->delimiter(',')
      // Not greedy: variants may follow.
      ->allow_extra_args(false)
      ->excludes(problem);
  compare
      ->add_option("--tokens", options.tokens,
                   "Only the first so many positions of the file")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->excludes(problem);
  compare
      ->add_option("--layout", options.layout,
                   "Axes of the tensors: bshd is [seqlen, heads, head_dim], "
                   "bhsd [heads, seqlen, head_dim]")
      ->check(CLI::IsMember({"bshd", "bhsd"}))
      ->capture_default_str();
  compare
      ->add_flag_callback(
          "--causal", [&] { options.causal = true; },
          "Row i sees keys up to its own position "
          "(default: what the file says, or yes)")
      ->excludes(problem);
  compare
      ->add_flag_callback(
          "--no-causal", [&] { options.causal = false; },
          "Every row sees every key")
      ->excludes(problem)
      ->excludes("--causal");
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
  compare->add_flag("--quiet,-q", options.quiet, "No progress");
  compare->callback([&] { options.command = Command::kCompare; });
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
  if (argc <= 1) {
    std::fputs(app.help().c_str(), stderr);
    *exit_code = kUsageError;
    return false;
  }
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::Success& success) {  // help or version
    *exit_code = app.exit(success);
  } catch (const CLI::Error& error) {
    std::string what = FindUnknown(app, argc, argv);
    if (what.empty()) what = OneLine(error.what()) + "; see 'heed --help'";
    std::fprintf(stderr, "heed: %s\n", what.c_str());
    *exit_code = kUsageError;
  }
  return false;
}

}  // namespace heed::tool
