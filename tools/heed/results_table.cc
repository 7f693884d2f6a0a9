// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The table for a terminal.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "lib/eval/heads.h"
#include "lib/eval/processors.h"
#include "tools/heed/numbers.h"
#include "tools/heed/results.h"
#include "tools/heed/text_table.h"

namespace heed::tool {
namespace {

using eval::CompareResult;
using eval::Summary;

std::vector<const char*> ColumnKeys(bool decoding, size_t width) {
  if (width <= kNarrowTable) {
    return {decoding ? "token_time" : "time", "speedup", "rel_l2"};
  }
  if (width != kWideTable) {
    if (decoding) {
      return {"token_time", "tokens_per_second", "token_kv_bytes", "mass_mean",
              "rel_l2"};
    }
    return {"time", "spread", "speedup", "mass_mean", "rel_l2"};
  }
  std::vector<const char*> keys;
  for (const NumberInfo& number : Numbers()) {
    const bool per_token =
        std::string_view(number.key).find("token") != std::string_view::npos;
    if (*number.heading != '\0' && (decoding || !per_token)) {
      keys.push_back(number.key);
    }
  }
  return keys;
}

// The sign of a noisy row stands at `noisy_key`.
std::string Sign(const Summary& row, std::string_view key,
                 std::string_view noisy_key) {
  if (row.noisy && key == noisy_key) return "!";
  if (row.beaten_by_zeros && key == "rel_l2") return "#";
  return "";
}

// Columns of numbers and the last ones, without the first.
class Columns {
 public:
  Columns(bool decoding, size_t width)
      : keys_(ColumnKeys(decoding, width)),
        // A table without a column for the spread has it at the time.
        noisy_key_(std::any_of(keys_.begin(), keys_.end(),
                               [](const char* key) {
                                 return std::string_view(key) == "spread";
                               })
                       ? "spread"
                       : keys_[0]),
        wide_(width == kWideTable) {}

  Line Heading(const char* first) const {
    Line line = {first};
    for (const char* key : keys_) line.push_back(NumberOf(key).heading);
    if (wide_) line.push_back("gate");
    line.push_back("");
    return line;
  }

  Line Of(const std::string& first, const Summary& row) const {
    Line line = {first};
    for (const char* key : keys_) {
      const NumberInfo& number = NumberOf(key);
      line.push_back(number.show(number.value(row)) +
                     Sign(row, key, noisy_key_));
    }
    const bool passed = row.total.gate == eval::Gate::kPassed;
    if (wide_ || !passed) line.push_back(GateText(row.total.gate));
    if (wide_ || passed) line.push_back(row.pareto ? "*" : "");
    return line;
  }

 private:
  std::vector<const char*> keys_;
  const char* noisy_key_;
  bool wide_;
};

std::string NameOf(const eval::Setting& setting, size_t width) {
  return width == kWideTable ? eval::FormatSetting(setting)
                             : eval::ShortSetting(setting);
}

// Each line by itself.
std::string WrapLines(const std::string& text, size_t width) {
  std::string wrapped;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    wrapped += line.empty() ? "\n" : WrapText(line, width);
  }
  return wrapped;
}

std::string Plural(int64_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string ThreadsText(const ResultsContext& context) {
  std::string text = Plural(context.threads, "thread");
  if (context.threads_asked > context.threads) {
    text += fmt::format(" of {} asked for, there being {} to run on",
                        context.threads_asked,
                        Plural(eval::UsableProcessors(), "processor"));
  }
  return text;
}

std::string Notes(const CompareResult& result, const ResultsContext& context) {
  int64_t rows = 0, measured = 0;
  for (const eval::LayerInfo& layer : result.layers) {
    rows += layer.rows;
    measured += layer.checked_rows;
  }
  std::string text =
      "* on the frontier: none is known to be faster and as accurate\n";
  text += fmt::format(
      "{}, {}\nkernel {}; time is the sum over layers, median of {}\n",
      Plural(static_cast<int64_t>(result.layers.size()), "layer"),
      ThreadsText(context), context.target, Plural(context.repeats, "round"));
  if (result.queries > 0) {
    text += fmt::format("the last {} decoded one by one over the cache\n",
                        Plural(result.queries, "token"));
  }
  if (!context.at.empty()) {
    text +=
        fmt::format("budgets are the smallest that reach {}{}\n", context.at,
                    context.at_tokens == 0
                        ? ""
                        : fmt::format(" at {} tokens", context.at_tokens));
  }
  for (const eval::Setting& setting : context.missed) {
    text += WrapText(fmt::format("no budget of {} reaches {}",
                                 eval::FormatSetting(setting), context.at),
                     kTableWidth);
  }
  if (context.row_by_row) {
    text += "each row was timed beside exact, in rounds of its own\n";
  }
  if (!context.left_out.empty()) {
    text += fmt::format(
        "{} left out, as {:g} s were spent:\n",
        Plural(static_cast<int64_t>(context.left_out.size()), "row"),
        context.time_budget);
    for (const std::string& name : context.left_out) {
      text += WrapText("  " + name, kTableWidth);
    }
  }
  text +=
      fmt::format("errors are against attention in double on {} of {} rows\n",
                  measured, rows);
  const auto any = [&](bool Summary::*flag) {
    return std::any_of(result.rows.begin(), result.rows.end(),
                       [flag](const Summary& row) { return row.*flag; });
  };
  if (any(&Summary::noisy)) {
    text += fmt::format(
        "! rounds spread by more than {:.0f} %: compare again, with more "
        "--repeats\n",
        100 * eval::kNoisySpread);
  }
  if (any(&Summary::beaten_by_zeros)) {
    text += "# an output of zeros would be as near to the truth, or nearer\n";
  }
  return text;
}

}  // namespace

std::string TableText(const CompareResult& result,
                      const ResultsContext& context, size_t width) {
  const Columns columns(result.queries > 0, width);
  std::vector<Line> lines = {columns.Heading("variant")};
  for (size_t i = 0; i < result.rows.size(); ++i) {
    lines.push_back(
        columns.Of(NameOf(result.settings[i], width), result.rows[i]));
  }
  std::string text =
      AlignColumns(lines, width) + "\n" +
      WrapLines(Notes(result, context), std::min(width, kTableWidth));
  for (size_t i = 0; i < result.rows.size(); ++i) {
    const eval::Measurement& total = result.rows[i].total;
    if (total.gate == eval::Gate::kPassed) continue;
    text += WrapText(
        fmt::format("{}: {}: {}", GateText(total.gate),
                    eval::FormatSetting(result.settings[i]), total.reason),
        width);
  }
  return text;
}

std::string LayersText(const CompareResult& result, size_t width) {
  const Columns columns(result.queries > 0, width);
  std::vector<Line> lines = {columns.Heading("by layer")};
  for (size_t i = 0; i < result.rows.size(); ++i) {
    lines.push_back({NameOf(result.settings[i], width)});
    for (size_t l = 0; l < result.layers.size(); ++l) {
      lines.push_back(
          columns.Of("  " + result.layers[l].name, result.by_layer[l][i]));
    }
  }
  return AlignColumns(lines, width);
}

std::string HeadsText(const CompareResult& result, size_t width) {
  constexpr size_t kWorst = 5;
  const NumberInfo &density = NumberOf("density"),
                   &mass = NumberOf("mass_mean"), &error = NumberOf("rel_l2");
  std::vector<Line> lines = {
      {"by head, worst first", density.heading, mass.heading, error.heading}};
  for (size_t i = 0; i < result.rows.size(); ++i) {
    lines.push_back({NameOf(result.settings[i], width)});
    const std::vector<eval::HeadRow> rows = eval::WorstHeads(result, i);
    const size_t shown =
        width == kWideTable ? rows.size() : std::min(rows.size(), kWorst);
    const auto add = [&](const std::string& name,
                         const eval::HeadMeasurement& lost) {
      lines.push_back({name, density.show(lost.density),
                       mass.show(lost.mass_mean), error.show(lost.rel_l2)});
    };
    for (size_t r = 0; r < shown; ++r) {
      const eval::LayerInfo& layer = result.layers[rows[r].layer];
      add(fmt::format("  {} head {}", layer.name, layer.heads[rows[r].head]),
          rows[r].lost);
    }
    if (shown == rows.size()) continue;
    add(fmt::format("  the middle one of {}", rows.size()),
        rows[rows.size() / 2].lost);
  }
  return AlignColumns(lines, width);
}

}  // namespace heed::tool
