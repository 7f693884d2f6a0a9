// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rows by name and length, number by number.
#include "tools/heed/against.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/eval/frontier.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/numbers.h"
#include "tools/heed/text_table.h"

namespace heed::tool {
namespace {

using io::JsonValue;

// A row at a length: its numbers under their keys.
struct Point {
  std::string name;
  int64_t tokens = 0;
  JsonValue numbers;

  bool Is(const Point& other) const {
    return name == other.name && tokens == other.tokens;
  }
  std::string Label() const {
    return tokens == 0 ? name : fmt::format("{} at {} tokens", name, tokens);
  }
};

// The points of a run: its rows, or in a sweep of lengths every row at each.
std::vector<Point> PointsOf(const RunFile& run) {
  std::vector<Point> points;
  const JsonValue* sweep = run.tree.Find("sweep");
  for (size_t i = 0; i < RowsOf(run).size(); ++i) {
    const JsonValue& row = RowsOf(run)[i];
    if (sweep == nullptr) {
      points.push_back({TextOf(row, "name"), 0, row});
      continue;
    }
    const std::vector<JsonValue>& lengths = PartOf(*sweep, "tokens").items;
    const JsonValue& swept = PartOf(*sweep, "rows").items[i];
    for (size_t l = 0; l < lengths.size(); ++l) {
      Point point = {TextOf(row, "name"), lengths[l].integer,
                     JsonValue::Object()};
      // The longest length is the row's own, which has a gate, too.
      if (l + 1 == lengths.size()) {
        point.numbers = row;
      } else {
        for (const NumberInfo& number : Numbers()) {
          point.numbers.Set(number.key, PartOf(swept, number.key).items[l]);
        }
      }
      points.push_back(std::move(point));
    }
  }
  return points;
}

const Point* FindPoint(const std::vector<Point>& points, const Point& like) {
  for (const Point& point : points) {
    if (point.Is(like)) return &point;
  }
  return nullptr;
}

eval::TradeOff TimeOf(const Point& point) {
  eval::TradeOff time;
  time.time = NumberIn(point.numbers, "time");
  time.spread = NumberIn(point.numbers, "mad");
  return time;
}

void ComparePoints(const Point& was, const Point& now, Against* against) {
  const auto add = [&](const char* key) {
    against->changes.push_back({now.name, now.tokens, key,
                                PartOf(was.numbers, key),
                                PartOf(now.numbers, key)});
  };
  if (now.numbers.Find("gate") != nullptr &&
      was.numbers.Find("gate") != nullptr &&
      TextOf(was.numbers, "gate") != TextOf(now.numbers, "gate")) {
    add("gate");
  }
  if (against->no_times.empty()) {
    const eval::TradeOff before = TimeOf(was), after = TimeOf(now);
    // NaN where a round is alone, or none.
    if (std::isnan(before.spread) || std::isnan(after.spread)) {
      ++against->untimed;
    } else if (eval::Faster(before, after) || eval::Faster(after, before)) {
      add("time");
    }
  }
  const double rounding = against->same_machine ? 0 : kQualityRounding;
  for (const NumberInfo& number : Numbers()) {
    if (number.kind == NumberKind::kTime) continue;
    if (number.kind == NumberKind::kMachine && !against->same_machine) continue;
    if (!SameQuality(NumberIn(was.numbers, number.key),
                     NumberIn(now.numbers, number.key), rounding)) {
      add(number.key);
    }
  }
}

// As tables show it; with all its digits where that shows no difference.
Line ShownChange(const Change& change) {
  Line line = {"  " +
               (change.tokens == 0
                    ? change.number
                    : fmt::format("{} at {}", change.number, change.tokens))};
  if (change.number == "gate") {
    line.insert(line.end(), {change.was.text, change.now.text, ""});
    return line;
  }
  const NumberInfo& number = NumberOf(change.number);
  if (*number.heading != '\0') {
    line[0].replace(2, change.number.size(), number.heading);
  }
  const auto value = [](const JsonValue& json) {
    return json.kind == JsonValue::Kind::kNull
               ? std::numeric_limits<double>::quiet_NaN()
               : json.number;
  };
  const double was = value(change.was), now = value(change.now);
  std::string before = number.show(was), after = number.show(now);
  if (before == after) {
    before = fmt::format("{}", was);
    after = fmt::format("{}", now);
  }
  const double ratio = now / was;
  line.insert(line.end(),
              {before, after,
               std::isfinite(ratio) ? fmt::format("x{:.3g}", ratio) : ""});
  return line;
}

std::string Names(const std::string& head,
                  const std::vector<std::string>& names, size_t width) {
  std::string text;
  for (const std::string& name : names) text += WrapText(head + name, width);
  return text;
}

}  // namespace

bool SameQuality(double was, double now, double rounding) {
  if (std::isnan(was) || std::isnan(now)) {
    return std::isnan(was) && std::isnan(now);
  }
  return std::fabs(was - now) <=
         rounding * std::max(std::fabs(was), std::fabs(now));
}

std::string MachineDifference(const RunFile& old, const RunFile& now) {
  const auto differs = [](const std::string& what, const std::string& was,
                          const std::string& is) {
    return was == is ? "" : what + " " + was + ", now " + is;
  };
  const JsonValue &before = PartOf(old.tree, "run"),
                  &after = PartOf(now.tree, "run");
  std::string text = differs(
      "CPU", io::Printable(TextOf(PartOf(old.tree, "environment"), "cpu")),
      io::Printable(TextOf(PartOf(now.tree, "environment"), "cpu")));
  for (const std::string& more :
       {differs("threads", std::to_string(PartOf(before, "threads").integer),
                std::to_string(PartOf(after, "threads").integer)),
        differs("kernel", io::Printable(TextOf(before, "target")),
                io::Printable(TextOf(after, "target")))}) {
    if (!text.empty() && !more.empty()) text += "; ";
    text += more;
  }
  return text;
}

Against CompareRuns(const RunFile& old, const RunFile& now) {
  const std::string input = InputDifference(InputOf(old), InputOf(now));
  if (!input.empty()) {
    throw io::InputError(io::Quoted(old.path) + " has another input: " + input);
  }
  Against against;
  against.path = old.path;
  against.began = TextOf(old.tree, "began");
  against.no_times = MachineDifference(old, now);
  against.same_machine = against.no_times.empty();
  const std::string& was = TextOf(PartOf(old.tree, "environment"), "version");
  const std::string& is = TextOf(PartOf(now.tree, "environment"), "version");
  if (was != is) against.versions = was + ", now " + is;
  const std::vector<Point> before = PointsOf(old), after = PointsOf(now);
  for (const Point& point : before) {
    if (FindPoint(after, point) == nullptr) {
      against.only_old.push_back(point.Label());
    }
  }
  for (const Point& point : after) {
    const Point* same = FindPoint(before, point);
    if (same == nullptr) {
      against.only_now.push_back(point.Label());
      continue;
    }
    ++against.compared;
    ComparePoints(*same, point, &against);
  }
  return against;
}

std::string AgainstText(const Against& against, size_t width) {
  std::string text =
      WrapText(fmt::format("against {}, begun {}", io::Printable(against.path),
                           io::Printable(against.began)),
               width);
  if (!against.no_times.empty()) {
    text += WrapText("times are not compared: " + against.no_times, width);
  }
  if (!against.versions.empty()) {
    text += WrapText("version " + io::Printable(against.versions), width);
  }
  if (!against.changes.empty()) {
    std::vector<Line> lines = {{"changed", "was", "now", ""}};
    std::string row;
    for (const Change& change : against.changes) {
      if (change.row != row) lines.push_back({change.row});
      row = change.row;
      lines.push_back(ShownChange(change));
    }
    text += AlignColumns(lines, width);
  }
  std::vector<std::string> rows;
  for (const Change& change : against.changes) {
    const Point point = {change.row, change.tokens, {}};
    if (rows.empty() || rows.back() != point.Label()) {
      rows.push_back(point.Label());
    }
  }
  text += WrapText(fmt::format("{} of {} rows changed beyond noise",
                               rows.size(), against.compared),
                   width);
  if (against.untimed > 0) {
    text += WrapText(
        fmt::format("{} have no spread (a single round, or none) by which to "
                    "compare times",
                    against.untimed),
        width);
  }
  text += Names("only there: ", against.only_old, width);
  return text + Names("only here: ", against.only_now, width);
}

JsonValue AgainstJson(const Against& against) {
  JsonValue json = JsonValue::Object();
  json.Set("file", JsonValue::String(against.path));
  json.Set("began", JsonValue::String(against.began));
  json.Set("times_compared", JsonValue::Bool(against.no_times.empty()));
  json.Set("no_times", JsonValue::String(against.no_times));
  json.Set("versions", JsonValue::String(against.versions));
  json.Set("compared", JsonValue::Integer(against.compared));
  json.Set("untimed", JsonValue::Integer(against.untimed));
  JsonValue changes = JsonValue::Array();
  for (const Change& change : against.changes) {
    JsonValue entry = JsonValue::Object();
    entry.Set("name", JsonValue::String(change.row));
    entry.Set("tokens", change.tokens == 0 ? JsonValue()
                                           : JsonValue::Integer(change.tokens));
    entry.Set("number", JsonValue::String(change.number));
    entry.Set("was", change.was);
    entry.Set("now", change.now);
    changes.items.push_back(std::move(entry));
  }
  json.Set("changes", std::move(changes));
  for (const auto& [key, names] : {std::pair{"only_there", &against.only_old},
                                   std::pair{"only_here", &against.only_now}}) {
    JsonValue list = JsonValue::Array();
    for (const std::string& name : *names) {
      list.items.push_back(JsonValue::String(name));
    }
    json.Set(key, std::move(list));
  }
  return json;
}

}  // namespace heed::tool
