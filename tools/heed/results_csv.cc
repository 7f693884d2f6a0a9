// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The CSV of a comparison.
#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "tools/heed/numbers.h"
#include "tools/heed/results.h"

namespace heed::tool {
namespace {

std::string CsvText(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  return quoted + "\"";
}

std::string CsvNumber(double value) {
  return std::isnan(value) ? "" : fmt::format("{}", value);
}

// What a line is about.
struct Place {
  const eval::Setting& setting;
  int64_t tokens;
  std::string layer, head, problem;
};

std::string PlaceText(const Place& place, const eval::Summary& row) {
  return fmt::format("{},{},{},{},{},{},{}",
                     CsvText(eval::FormatSetting(place.setting)),
                     place.setting.variant.name,
                     place.tokens == 0 ? "" : std::to_string(place.tokens),
                     CsvText(place.layer), place.head, place.problem,
                     GateText(row.total.gate));
}

std::string CsvLine(const Place& place, const eval::Summary& row,
                    const std::string& growth) {
  const eval::Measurement& cell = row.total;
  std::string line =
      PlaceText(place, row) + fmt::format(",{}", cell.seconds.size());
  for (const NumberInfo& number : Numbers()) {
    line += "," + CsvNumber(number.value(row));
  }
  return line + fmt::format(",{},{},{},{},{},{}\n", int{cell.recorded},
                            int{row.noisy}, int{row.beaten_by_zeros},
                            int{row.pareto}, growth, CsvText(cell.reason));
}

// The heads of a layer, which have three of the numbers.
std::string HeadLines(Place place, const std::vector<int64_t>& numbers,
                      const eval::Summary& layer) {
  std::string text;
  for (size_t h = 0; h < layer.total.heads.size(); ++h) {
    const eval::HeadMeasurement& head = layer.total.heads[h];
    place.head = std::to_string(numbers[h]);
    text += PlaceText(place, layer) + ",";
    for (const NumberInfo& number : Numbers()) {
      const std::string_view key = number.key;
      text += ",";
      if (key == "density") text += CsvNumber(head.density);
      if (key == "mass_mean") text += CsvNumber(head.mass_mean);
      if (key == "rel_l2") text += CsvNumber(head.rel_l2);
    }
    text += ",,,,,,,,,\n";
  }
  return text;
}

std::string GrowthText(const eval::LengthSweep& sweep, size_t setting) {
  if (sweep.lengths.size() < 2) return ",,,";
  const eval::Crossing crossing = sweep.EfficiencyLength(setting);
  return fmt::format("{},{},{},{}", CsvNumber(GrowthOf(sweep.CurveOf(setting))),
                     CsvNumber(crossing.length), CsvNumber(crossing.shortest),
                     CsvNumber(crossing.longest));
}

}  // namespace

std::string ResultsCsv(const eval::LengthSweep& sweep, bool heads) {
  std::string text = "name,variant,tokens,layer,head,problem,gate,rounds";
  for (const NumberInfo& number : Numbers()) {
    text += fmt::format(",{}", number.key);
  }
  text +=
      ",cost_recorded,noisy,beaten_by_zeros,pareto,growth,efficiency_length,"
      "efficiency_shortest,efficiency_longest,reason\n";
  for (size_t n = 0; n < sweep.lengths.size(); ++n) {
    const eval::CompareResult& result = sweep.results[n];
    const int64_t tokens = sweep.lengths[n];
    const bool last = n + 1 == sweep.lengths.size();
    for (size_t i = 0; i < result.rows.size(); ++i) {
      const eval::Setting& setting = result.settings[i];
      for (size_t l = 0; l < result.layers.size(); ++l) {
        const eval::LayerInfo& layer = result.layers[l];
        const Place place = {setting, tokens, layer.name, "", layer.problem};
        text += CsvLine(place, result.by_layer[l][i], ",,,");
        if (heads) {
          text += HeadLines(place, layer.heads, result.by_layer[l][i]);
        }
      }
      text += CsvLine({setting, tokens, "all", "", ""}, result.rows[i],
                      last ? GrowthText(sweep, i) : ",,,");
    }
  }
  return text;
}

}  // namespace heed::tool
