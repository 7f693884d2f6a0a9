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
#include "lib/io/input_error.h"
#include "tools/heed/help_text.h"

namespace heed::tool {
namespace {

constexpr int kUsageError = 2;

constexpr char kAbout[] =
    "heed: attention on CPUs, exact, sparse and linear, side by side";

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

// It runs a model, so it is Python (python/heed/_capture.py); here it is
// listed, and says where it is.
void AddCapture(CLI::App& app) {
  app.add_subcommand("capture",
                     "Write queries, keys and values of a Hugging Face model "
                     "into a file (in the Python package)")
      ->prefix_command()
      ->callback([] {
        throw io::InputError(
            "capture runs a model, which the command heed of the Python "
            "package does: pip install '.[hf]'");
      });
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
  AddCapture(app);
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
