// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Time against length as text and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tools/heed/numbers.h"
#include "tools/heed/results.h"
#include "tools/heed/text_table.h"

namespace heed::tool {
namespace {

using eval::CompareResult;
using eval::Crossing;
using eval::LengthSweep;

// Lengths side by side beside names of up to thirty letters.
size_t LengthsSideBySide(size_t width) { return width < kTableWidth ? 2 : 5; }

std::string LengthText(const LengthSweep& sweep, double length) {
  if (length == 0) return fmt::format("<={}", sweep.lengths.front());
  if (std::isinf(length)) return fmt::format(">{}", sweep.lengths.back());
  return fmt::format("{:.0f}", length);
}

// "1234 [1100, 1400]", "<=512", "not up to 2048".
std::string CrossingText(const LengthSweep& sweep, const Crossing& crossing,
                         bool interval) {
  if (std::isnan(crossing.length)) return "-";
  std::string text = std::isinf(crossing.length)
                         ? fmt::format("not up to {}", sweep.lengths.back())
                         : LengthText(sweep, crossing.length);
  if (interval && crossing.shortest != crossing.longest) {
    text += fmt::format(" [{}, {}]", LengthText(sweep, crossing.shortest),
                        LengthText(sweep, crossing.longest));
  }
  return text;
}

const char* CrossingKind(const Crossing& crossing) {
  if (std::isnan(crossing.length)) return "none";
  if (crossing.length == 0) return "from the first length on";
  if (std::isinf(crossing.length)) return "not up to the last length";
  return "crosses";
}

// The rows' times at lengths [first, end).
std::string TimesText(const LengthSweep& sweep, size_t first, size_t end,
                      size_t width) {
  const CompareResult& last = sweep.results.back();
  const NumberInfo& time = NumberOf(last.queries > 0 ? "token_time" : "time");
  std::vector<Line> lines(1, {std::string(time.heading) + " at"});
  for (size_t l = first; l < end; ++l) {
    lines[0].push_back(std::to_string(sweep.lengths[l]));
  }
  for (size_t i = 0; i < last.rows.size(); ++i) {
    Line line = {eval::ShortSetting(last.settings[i])};
    for (size_t l = first; l < end; ++l) {
      const eval::Summary& row = sweep.results[l].rows[i];
      line.push_back(time.show(time.value(row)) + (row.noisy ? "!" : ""));
    }
    lines.push_back(std::move(line));
  }
  return AlignColumns(lines, width);
}

// Null for infinities, which the kind tells apart.
void PutFinite(io::JsonWriter* writer, const char* key, double value) {
  writer->Key(key);
  std::isfinite(value) ? writer->Number(value) : writer->Null();
}

}  // namespace

std::string SweepText(const LengthSweep& sweep, size_t wanted) {
  const size_t width = std::min(wanted, kTableWidth);
  const size_t beside = LengthsSideBySide(width);
  const CompareResult& last = sweep.results.back();
  std::string text;
  for (size_t l = 0; l < sweep.lengths.size(); l += beside) {
    const size_t end = std::min(l + beside, sweep.lengths.size());
    text += TimesText(sweep, l, end, width) + "\n";
  }
  std::vector<Line> lines = {{"all lengths", "growth", "pays from"}};
  for (size_t i = 0; i < last.rows.size(); ++i) {
    const double growth = GrowthOf(sweep.CurveOf(i));
    lines.push_back(
        {eval::ShortSetting(last.settings[i]),
         std::isnan(growth) ? "-" : fmt::format("{:.2f}", growth),
         CrossingText(sweep, sweep.EfficiencyLength(i), width == kTableWidth)});
  }
  text += AlignColumns(lines, width);
  return text + fmt::format("\nAt {} tokens:\n", sweep.lengths.back());
}

void WriteSweep(const LengthSweep& sweep, io::JsonWriter* writer) {
  const CompareResult& last = sweep.results.back();
  writer->StartObject();
  writer->Key("tokens");
  writer->StartArray();
  for (const int64_t length : sweep.lengths) writer->Integer(length);
  writer->End();
  writer->Key("rows");
  writer->StartArray();
  for (size_t i = 0; i < last.rows.size(); ++i) {
    const Crossing crossing = sweep.EfficiencyLength(i);
    writer->StartObject();
    writer->Key("name");
    writer->String(eval::FormatSetting(last.settings[i]));
    PutFinite(writer, "growth", GrowthOf(sweep.CurveOf(i)));
    writer->Key("efficiency");
    writer->String(CrossingKind(crossing));
    PutFinite(writer, "efficiency_length", crossing.length);
    PutFinite(writer, "efficiency_shortest", crossing.shortest);
    PutFinite(writer, "efficiency_longest", crossing.longest);
    for (const NumberInfo& number : Numbers()) {
      writer->Key(number.key);
      writer->StartArray();
      for (const CompareResult& result : sweep.results) {
        writer->Number(number.value(result.rows[i]));
      }
      writer->End();
    }
    writer->End();
  }
  writer->End();
  writer->End();
}

}  // namespace heed::tool
