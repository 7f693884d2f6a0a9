// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// JSON back into rows, and the loop over those that are missing.
#include "tools/heed/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/numbers.h"

namespace heed::tool {
namespace {

using eval::CompareResult;
using eval::Summary;
using io::JsonValue;

eval::Gate GateOf(const std::string& text) {
  for (const eval::Gate gate : {eval::Gate::kPassed, eval::Gate::kFailed}) {
    if (text == GateText(gate)) return gate;
  }
  return eval::Gate::kRefused;
}

Summary ReadSummary(const JsonValue& row, double tokens) {
  Summary summary = {};
  for (const NumberInfo& number : Numbers()) {
    if (number.set != nullptr) {
      number.set(&summary, NumberIn(row, number.key));
    }
  }
  summary.tokens = tokens;
  summary.noisy = PartOf(row, "noisy").boolean;
  summary.beaten_by_zeros = PartOf(row, "beaten_by_zeros").boolean;
  summary.pareto = PartOf(row, "pareto").boolean;
  summary.total.gate = GateOf(TextOf(row, "gate"));
  summary.total.reason = TextOf(row, "reason");
  summary.total.recorded = PartOf(row, "cost_recorded").boolean;
  for (const JsonValue& seconds : PartOf(row, "seconds").items) {
    summary.total.seconds.push_back(seconds.number);
  }
  for (size_t i = 0; i < eval::kPhaseNames.size(); ++i) {
    summary.total.phases[i] =
        NumberIn(PartOf(row, "phases"), eval::kPhaseNames[i]);
  }
  for (const JsonValue& error : PartOf(row, "row_rel_l2").items) {
    summary.total.row_errors.push_back(error.number);
  }
  if (const JsonValue* heads = row.Find("heads")) {
    for (size_t h = 0; h < PartOf(*heads, "rel_l2").items.size(); ++h) {
      const auto at = [&](const char* key) {
        JsonValue holder = JsonValue::Object();
        holder.Set(key, PartOf(*heads, key).items[h]);
        return NumberIn(holder, key);
      };
      summary.total.heads.push_back(
          {at("density"), at("mass_mean"), at("rel_l2")});
    }
  }
  return summary;
}

eval::LayerInfo ReadLayer(const JsonValue& layer) {
  eval::LayerInfo info;
  info.name = TextOf(layer, "name");
  info.problem = TextOf(layer, "problem");
  info.calls = PartOf(layer, "calls").integer;
  info.rows = PartOf(layer, "rows").integer;
  info.checked_rows = PartOf(layer, "measured_rows").integer;
  for (const JsonValue& head : PartOf(layer, "heads").items) {
    info.heads.push_back(head.integer);
  }
  return info;
}

bool Has(const CompareResult& result, const std::string& name) {
  return std::any_of(result.settings.begin(), result.settings.end(),
                     [&name](const eval::Setting& setting) {
                       return eval::FormatSetting(setting) == name;
                     });
}

}  // namespace

CompareResult ResultOf(const RunFile& run, double tokens) {
  const auto refuse = [&run](const std::string& why) {
    throw io::InputError(io::Quoted(run.path) + " cannot be resumed: " + why);
  };
  if (run.tree.Find("sweep") != nullptr) refuse("it is a sweep of lengths");
  CompareResult result;
  result.queries = InputOf(run).queries;
  result.tokens = tokens;
  for (const JsonValue& layer :
       PartOf(PartOf(run.tree, "input"), "layers").items) {
    result.layers.push_back(ReadLayer(layer));
  }
  result.by_layer.resize(result.layers.size());
  for (const JsonValue& row : RowsOf(run)) {
    if (row.Find("here") != nullptr || row.Find("elsewhere") != nullptr) {
      refuse("it is merged from several machines");
    }
    const std::string& name = TextOf(row, "name");
    std::vector<eval::Setting> settings;
    try {
      settings = eval::ParseSettings(name, eval::AllVariants());
    } catch (const io::InputError& error) {
      refuse(error.what());
    }
    if (settings.size() != 1 || eval::FormatSetting(settings[0]) != name) {
      refuse(name + " is not one setting of this build");
    }
    if (PartOf(row, "baseline").boolean) {
      result.baseline = result.settings.size();
    }
    result.settings.push_back(settings[0]);
    result.rows.push_back(ReadSummary(row, tokens));
    for (size_t l = 0; l < result.layers.size(); ++l) {
      result.by_layer[l].push_back(
          ReadSummary(PartOf(row, "layers").items[l], tokens));
    }
  }
  if (std::string_view(result.settings[result.baseline].variant.name) !=
      "exact") {
    refuse("its baseline is not exact");
  }
  return result;
}

void CheckSameSetting(const RunFile& run, const ResultsContext& context) {
  const auto refuse = [&run](const std::string& field, const std::string& there,
                             const std::string& here) {
    throw io::InputError(fmt::format("{} cannot be resumed: {} is {}, not {}",
                                     io::Quoted(run.path), field, there, here));
  };
  io::JsonWriter writer;
  WriteEnvironment(context.environment, &writer);
  const JsonValue here = io::ReadJson(writer.Text());
  const JsonValue& there = PartOf(run.tree, "environment");
  for (const char* key : {"version", "compiler", "cpu"}) {
    if (TextOf(there, key) != TextOf(here, key)) {
      refuse(std::string("environment.") + key, io::Quoted(TextOf(there, key)),
             io::Quoted(TextOf(here, key)));
    }
  }
  if (!(there == here)) refuse("environment", "another", "this machine's");
  const JsonValue& made = PartOf(run.tree, "run");
  if (TextOf(made, "target") != context.target) {
    refuse("run.target", io::Quoted(TextOf(made, "target")),
           io::Quoted(context.target));
  }
  for (const auto& [key, value] : {std::pair{"threads", context.threads},
                                   std::pair{"repeats", context.repeats}}) {
    const int64_t was = PartOf(made, key).integer;
    if (was != value) {
      refuse(std::string("run.") + key, std::to_string(was),
             std::to_string(value));
    }
  }
}

std::vector<std::string> RunRows(const eval::TensorSource& source,
                                 const std::vector<eval::Setting>& settings,
                                 const eval::CompareOptions& options,
                                 const RowByRow& hooks,
                                 const eval::ProgressFunction& progress,
                                 CompareResult* result) {
  std::vector<eval::Setting> wanted;
  std::vector<std::string> left;
  for (const eval::Setting& setting : settings) {
    const std::string name = eval::FormatSetting(setting);
    if (Has(*result, name) || name == "exact" ||
        std::find(left.begin(), left.end(), name) != left.end()) {
      continue;
    }
    wanted.push_back(setting);
    left.push_back(name);
  }
  const bool nothing_there = result->rows.empty();
  if (!nothing_there && wanted.empty()) return {};
  if (progress) progress({0, "computing the truth of " + source.name});
  eval::Comparison comparison(source, options);
  const double steps =
      static_cast<double>(wanted.size()) + (nothing_there ? 1 : 0);
  double done = 0;
  const auto run = [&](const std::vector<eval::Setting>& some) {
    CompareResult more = comparison.Run(some, [&](const eval::Progress& step) {
      if (progress) progress({(done + step.share) / steps, step.what});
    });
    done += 1;
    if (result->rows.empty()) {
      *result = std::move(more);
    } else {
      eval::AddRows(more, result);
    }
    hooks.after_row(*result, left);
  };
  if (nothing_there) run({});
  for (const eval::Setting& setting : wanted) {
    if (!hooks.time_is_left()) break;
    left.erase(left.begin());
    run({setting});
  }
  return left;
}

}  // namespace heed::tool
