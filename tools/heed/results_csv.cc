// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The CSV of a comparison.
#include <fmt/format.h>

#include <cmath>

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

std::string CsvLine(const eval::Setting& setting, const std::string& layer,
                    const std::string& problem, const eval::Summary& row) {
  const eval::Measurement& cell = row.total;
  std::string line =
      fmt::format("{},{},{},{},{},{}", CsvText(eval::FormatSetting(setting)),
                  setting.variant.name, CsvText(layer), problem,
                  GateText(cell.gate), cell.seconds.size());
  for (const NumberInfo& number : Numbers()) {
    const double value = number.value(row);
    line += std::isfinite(value) ? fmt::format(",{}", value) : ",";
  }
  return line + fmt::format(",{},{},{},{},{}\n", int{cell.recorded},
                            int{row.noisy}, int{row.beaten_by_zeros},
                            int{row.pareto}, CsvText(cell.reason));
}

}  // namespace

std::string ResultsCsv(const eval::CompareResult& result) {
  std::string text = "name,variant,layer,problem,gate,rounds";
  for (const NumberInfo& number : Numbers()) {
    text += fmt::format(",{}", number.key);
  }
  text += ",cost_recorded,noisy,beaten_by_zeros,pareto,reason\n";
  for (size_t i = 0; i < result.rows.size(); ++i) {
    for (size_t l = 0; l < result.layers.size(); ++l) {
      text += CsvLine(result.settings[i], result.layers[l].name,
                      result.layers[l].problem, result.by_layer[l][i]);
    }
    text += CsvLine(result.settings[i], "all", "", result.rows[i]);
  }
  return text;
}

}  // namespace heed::tool
