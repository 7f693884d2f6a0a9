// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The table for a terminal, and the CSV.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tools/heed/results.h"

namespace heed::tool {
namespace {

using eval::CompareResult;
using eval::Measurement;

using Line = std::vector<std::string>;

// A number with a format of its own, or a dash where there is none.
template <typename Format>
std::string Cell(const Format& format, double value) {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(format), value);
}

// Fixed digits, so that columns compare at a glance; where those would show
// next to nothing, two that do.
std::string Amount(int digits, double value) {
  if (std::isnan(value)) return "-";
  const bool tiny = value != 0 && value < std::pow(10.0, 1 - digits);
  return tiny ? fmt::format("{:.2g}", value)
              : fmt::format("{:.{}f}", value, digits);
}

Line MakeLine(const CompareResult& result, size_t i) {
  const eval::Summary& row = result.rows[i];
  const Measurement& total = row.total;
  const bool ran = total.gate != eval::Gate::kRefused;
  return {
      eval::FormatSetting(result.settings[i]),
      Amount(2, 1e3 * row.median_seconds),
      Cell("{:.1f}%", 100 * row.mad_seconds / row.median_seconds) +
          (row.noisy ? "!" : ""),
      Cell("{:.2f}", row.speedup),
      ran ? Amount(3, total.flops * 1e-9) : "-",
      ran ? Amount(2, total.bytes * 1e-6) : "-",
      ran ? fmt::format("{:.0f}",
                        std::ceil(static_cast<double>(total.workspace) / 1024))
          : "-",
      Cell("{:.3f}", total.density),
      Cell("{:.4f}", total.mass_mean),
      Cell("{:.4f}", total.mass_p05),
      Cell("{:.1e}", total.rel_l2),
      Cell("{:.1e}", total.max_abs),
      Cell("{:.6f}", total.cosine),
      GateText(total.gate),
      row.pareto ? "*" : ""};
}

// First column to the left, numbers to the right.
std::string Align(const std::vector<Line>& lines) {
  std::vector<size_t> width(lines[0].size());
  for (const Line& line : lines) {
    for (size_t c = 0; c < line.size(); ++c) {
      width[c] = std::max(width[c], line[c].size());
    }
  }
  std::string text;
  for (const Line& line : lines) {
    std::string row = fmt::format("{:<{}}", line[0], width[0]);
    for (size_t c = 1; c < line.size(); ++c) {
      row += fmt::format("  {:>{}}", line[c], width[c]);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

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
  return std::isfinite(value) ? fmt::format("{}", value) : "";
}

std::string CsvLine(const eval::Setting& setting, const std::string& layer,
                    const std::string& problem, const eval::Summary& row) {
  const Measurement& cell = row.total;
  const bool ran = cell.gate != eval::Gate::kRefused;
  return fmt::format(
      "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
      CsvText(eval::FormatSetting(setting)), setting.variant.name,
      CsvText(layer), problem, GateText(cell.gate),
      CsvNumber(row.median_seconds), CsvNumber(row.mad_seconds),
      cell.seconds.size(), CsvNumber(row.speedup),
      ran ? CsvNumber(cell.flops) : "", ran ? CsvNumber(cell.bytes) : "",
      ran ? fmt::format("{}", cell.workspace) : "", CsvNumber(cell.density),
      CsvNumber(cell.mass_mean), CsvNumber(cell.mass_p05),
      CsvNumber(cell.rel_l2), CsvNumber(cell.max_abs), CsvNumber(cell.cosine),
      row.pareto ? 1 : 0, CsvText(cell.reason));
}

std::string Plural(int64_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace

std::string TableText(const CompareResult& result,
                      const ResultsContext& context) {
  std::vector<Line> lines = {{"variant", "time ms", "+-", "x exact", "GFLOP",
                              "MB", "work KiB", "density", "mass", "p05",
                              "rel L2", "max abs", "cosine", "gate", ""}};
  for (size_t i = 0; i < result.rows.size(); ++i) {
    lines.push_back(MakeLine(result, i));
  }
  std::string text = Align(lines);
  int64_t rows = 0, measured = 0;
  for (const eval::LayerInfo& layer : result.layers) {
    rows += layer.rows;
    measured += layer.checked_rows;
  }
  text += fmt::format(
      "\n* no other row is both faster and more accurate\n"
      "{}, {}, kernel {}; time is the sum over layers, median of {}\n"
      "errors are against attention in double on {} of {} rows\n",
      Plural(static_cast<int64_t>(result.layers.size()), "layer"),
      Plural(context.threads, "thread"), context.target,
      Plural(context.repeats, "round"), measured, rows);
  if (std::any_of(result.rows.begin(), result.rows.end(),
                  [](const eval::Summary& row) { return row.noisy; })) {
    text += fmt::format(
        "! the rounds spread by more than {:.0f} %: compare again, or with "
        "more "
        "--repeats\n",
        100 * eval::kNoisySpread);
  }
  for (size_t i = 0; i < result.rows.size(); ++i) {
    const Measurement& total = result.rows[i].total;
    if (total.gate == eval::Gate::kPassed) continue;
    text += fmt::format("{}: {}: {}\n", GateText(total.gate),
                        eval::FormatSetting(result.settings[i]), total.reason);
  }
  return text;
}

std::string ResultsCsv(const CompareResult& result) {
  std::string text =
      "name,variant,layer,problem,gate,seconds_median,seconds_mad,rounds,"
      "speedup,flops,bytes,workspace_bytes,density,mass_mean,mass_p05,rel_l2,"
      "max_abs,cosine,pareto,reason\n";
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
