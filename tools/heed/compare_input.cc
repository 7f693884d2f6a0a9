// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Reads options, then files.
#include "tools/heed/compare_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "lib/eval/cut_layer.h"
#include "lib/io/input_error.h"
#include "lib/io/number_list.h"
#include "tools/heed/sample.h"

namespace heed::tool {
namespace {

// The problem at another length of queries and keys alike.
std::string ProblemOfLength(const std::string& text, int64_t length) {
  io::Problem problem;
  const std::string error = io::ParseProblem(text, &problem);
  if (!error.empty()) throw io::InputError(error);
  AttentionShape& shape = problem.shape;
  if (shape.seqlen_q != shape.seqlen_k) {
    throw io::InputError("problem '" + text + "' has " +
                         std::to_string(shape.seqlen_q) + " queries of " +
                         std::to_string(shape.seqlen_k) +
                         " keys, and --tokens sets both");
  }
  shape.seqlen_q = shape.seqlen_k = length;
  return FormatProblem(problem);
}

eval::TensorSource ReadWhole(const Options& options, int64_t length) {
  const eval::Layout layout =
      options.layout == "bhsd" ? eval::Layout::kBhsd : eval::Layout::kBshd;
  if (!options.problem.empty()) {
    eval::WorkloadOptions workload;
    workload.layout = layout;
    workload.seed = options.seed;
    return eval::MakeSynthetic(length == 0
                                   ? options.problem
                                   : ProblemOfLength(options.problem, length),
                               workload);
  }
  eval::CaptureOptions capture;
  capture.layout = layout;
  if (!options.layers.empty()) {
    capture.layers = io::ParseNumberList(options.layers, "--layers");
  }
  if (!options.heads.empty()) {
    capture.heads = io::ParseNumberList(options.heads, "--heads");
  }
  capture.tokens = length;
  capture.params = options.params;
  return eval::LoadCapture(InputPath(options), capture);
}

}  // namespace

std::string InputPath(const Options& options) {
  if (!options.problem.empty()) return "";
  return options.input.empty() ? FindSample() : options.input;
}

std::vector<int64_t> ReadLengths(const Options& options) {
  if (options.tokens.empty()) return {0};
  constexpr int64_t kMost = int64_t{1} << 31;
  std::vector<int64_t> lengths;
  for (const io::NumberRange& range :
       io::ParseNumberList(options.tokens, "--tokens")) {
    if (range.first < 1 || range.last > kMost) {
      throw io::InputError("--tokens needs numbers in [1, " +
                           std::to_string(kMost) + "], not " +
                           FormatRange(range));
    }
    for (int64_t length = range.first; length <= range.last; length *= 2) {
      lengths.push_back(length);
    }
  }
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

eval::TensorSource ReadSource(const Options& options, int64_t length) {
  eval::TensorSource source = ReadWhole(options, length);
  if (options.queries > 0) eval::DecodeLast(options.queries, &source);
  return source;
}

std::vector<eval::Setting> ReadSettings(const Options& options) {
  const std::vector<NamedVariant> variants = eval::AllVariants();
  std::vector<eval::Setting> settings;
  for (const std::string& text : options.variants) {
    const auto parsed = eval::ParseSettings(text, variants);
    settings.insert(settings.end(), parsed.begin(), parsed.end());
  }
  return settings;
}

void CheckCausalForms(const std::vector<eval::Setting>& settings,
                      const eval::TensorSource& source) {
  if (!source.layers[0].tensors.problem.params.causal) return;
  for (const eval::Setting& setting : settings) {
    if (!setting.variant.variant.non_causal) continue;
    throw io::InputError(
        fmt::format("{} has no causal form, and the input is causal",
                    setting.variant.name));
  }
}

void WarnOfLayout(const eval::TensorSource& source, const Options& options) {
  const AttentionShape& shape = source.layers[0].tensors.problem.shape;
  if (options.problem.empty() && options.queries == 0 &&
      shape.num_heads > 4 * shape.seqlen_q && shape.num_heads > 64) {
    fmt::print(stderr, "heed: note: {} heads of {} rows; is the layout {}?\n",
               shape.num_heads, shape.seqlen_q,
               options.layout == "bhsd" ? "bshd" : "bhsd");
  }
}

}  // namespace heed::tool
