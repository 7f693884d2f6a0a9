// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// JSON back into rows, and the loop over those that are missing.
#include "tools/heed/resume.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/machine.h"
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

[[noreturn]] void Refuse(const RunFile& run, const std::string& why) {
  throw io::InputError(io::Quoted(run.path) + " cannot be resumed: " + why);
}

// The comparison at one length.
CompareResult ResultOf(const RunFile& run, const JsonValue& layers,
                       const JsonValue& rows, double tokens) {
  CompareResult result;
  result.queries = InputOf(run).queries;
  result.tokens = tokens;
  for (const JsonValue& layer : layers.items) {
    result.layers.push_back(ReadLayer(layer));
  }
  result.by_layer.resize(result.layers.size());
  for (const JsonValue& row : rows.items) {
    if (row.Find("here") != nullptr || row.Find("elsewhere") != nullptr) {
      Refuse(run, "it is merged from several machines");
    }
    const std::string& name = TextOf(row, "name");
    std::vector<eval::Setting> settings;
    try {
      settings = eval::ParseSettings(name, eval::AllVariants());
    } catch (const io::InputError& error) {
      Refuse(run, error.what());
    }
    if (settings.size() != 1 || eval::FormatSetting(settings[0]) != name) {
      Refuse(run, name + " is not one setting of this build");
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
    Refuse(run, "its baseline is not exact");
  }
  return result;
}

bool Has(const CompareResult& result, const std::string& name) {
  return std::any_of(result.settings.begin(), result.settings.end(),
                     [&name](const eval::Setting& setting) {
                       return eval::FormatSetting(setting) == name;
                     });
}

}  // namespace

eval::LengthSweep SweepOf(const RunFile& run,
                          const std::vector<int64_t>& lengths, double tokens) {
  std::vector<int64_t> there = LengthsOf(run);
  if (there.empty()) there = {0};
  const auto text = [](const std::vector<int64_t>& some) {
    return some.size() == 1 ? "one length"
                            : fmt::format("{}", fmt::join(some, ", "));
  };
  if (there.size() != lengths.size() ||
      (there.size() > 1 && there != lengths)) {
    Refuse(run, "sweep.tokens are " + text(there) + ", not " + text(lengths));
  }
  eval::LengthSweep sweep;
  sweep.lengths = lengths;
  if (there.size() > 1) {
    const JsonValue* shorter = run.tree.Find("shorter");
    if (shorter == nullptr) Refuse(run, "it is a sweep that ran in one go");
    for (const JsonValue& length : shorter->items) {
      sweep.results.push_back(ResultOf(run, PartOf(length, "layers"),
                                       PartOf(length, "rows"), tokens));
    }
  }
  sweep.results.push_back(ResultOf(run,
                                   PartOf(PartOf(run.tree, "input"), "layers"),
                                   PartOf(run.tree, "rows"), tokens));
  return sweep;
}

void CheckSameSetting(const RunFile& run, const ResultsContext& context) {
  io::JsonWriter writer;
  writer.StartObject();
  WriteContext(context, 0, &writer);
  writer.End();
  const JsonValue here = io::ReadJson(writer.Text());
  for (const FieldDifference& field : TimingDifferences(run.tree, here)) {
    throw io::InputError(fmt::format(
        "{} cannot be resumed: {} is {}, not {}", io::Quoted(run.path),
        field.field, io::Quoted(field.there), io::Quoted(field.here)));
  }
}

std::vector<std::string> RunRows(const std::vector<eval::TensorSource>& sources,
                                 const std::vector<eval::Setting>& settings,
                                 const eval::CompareOptions& options,
                                 const RowByRow& hooks,
                                 const eval::ProgressFunction& progress,
                                 eval::LengthSweep* sweep) {
  const CompareResult& longest = sweep->results.back();
  std::vector<eval::Setting> wanted;
  std::vector<std::string> left;
  for (const eval::Setting& setting : settings) {
    const std::string name = eval::FormatSetting(setting);
    if (Has(longest, name) || name == "exact" ||
        std::find(left.begin(), left.end(), name) != left.end()) {
      continue;
    }
    wanted.push_back(setting);
    left.push_back(name);
  }
  const bool nothing_there = longest.rows.empty();
  if (!nothing_there && wanted.empty()) return {};
  std::vector<std::unique_ptr<eval::Comparison>> comparisons;
  for (const eval::TensorSource& source : sources) {
    if (progress) progress({0, "computing the truth of " + source.name});
    comparisons.push_back(std::make_unique<eval::Comparison>(source, options));
  }
  const double steps =
      static_cast<double>(wanted.size()) + (nothing_there ? 1 : 0);
  double done = 0;
  const auto run = [&](const std::vector<eval::Setting>& some) {
    // A row is there at every length, or at none.
    eval::LengthSweep next = *sweep;
    for (size_t l = 0; l < sources.size(); ++l) {
      CompareResult more =
          comparisons[l]->Run(some, [&](const eval::Progress& step) {
            const double share = static_cast<double>(l) + step.share;
            if (progress) {
              progress(
                  {(done + share / static_cast<double>(sources.size())) / steps,
                   step.what});
            }
          });
      if (next.results[l].rows.empty()) {
        next.results[l] = std::move(more);
      } else {
        eval::AddRows(more, &next.results[l]);
      }
    }
    *sweep = std::move(next);
    done += 1;
    hooks.after_row(*sweep, left);
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
