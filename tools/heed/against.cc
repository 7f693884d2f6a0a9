// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rows by name and length, number by number.
#include "tools/heed/against.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "lib/eval/compare.h"
#include "lib/eval/metrics.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/machine.h"
#include "tools/heed/numbers.h"
#include "tools/heed/quality_change.h"
#include "tools/heed/text_table.h"
#include "tools/heed/time_change.h"

namespace heed::tool {
namespace {

using io::JsonValue;

// A row at a length: its numbers under their keys.
struct Point {
  std::string name;
  int64_t tokens = 0;
  JsonValue numbers;
  int64_t rounds = 0;

  bool Is(const Point& other) const {
    return name == other.name && tokens == other.tokens;
  }
  std::string Label() const {
    return tokens == 0 ? name : fmt::format("{} at {} tokens", name, tokens);
  }
};

int64_t RoundsOf(const JsonValue& row) {
  return static_cast<int64_t>(PartOf(row, "seconds").items.size());
}

// The points of a run: its rows, or in a sweep of lengths every row at each.
std::vector<Point> PointsOf(const RunFile& run) {
  std::vector<Point> points;
  const JsonValue* sweep = run.tree.Find("sweep");
  for (size_t i = 0; i < RowsOf(run).size(); ++i) {
    const JsonValue& row = RowsOf(run)[i];
    if (sweep == nullptr) {
      points.push_back({TextOf(row, "name"), 0, row, RoundsOf(row)});
      continue;
    }
    const std::vector<JsonValue>& lengths = PartOf(*sweep, "tokens").items;
    const JsonValue& swept = PartOf(*sweep, "rows").items[i];
    for (size_t l = 0; l < lengths.size(); ++l) {
      Point point = {TextOf(row, "name"), lengths[l].integer,
                     JsonValue::Object(),
                     PartOf(PartOf(run.tree, "run"), "repeats").integer};
      // The longest length is the row's own, which has a gate, too.
      if (l + 1 == lengths.size()) {
        point.numbers = row;
        point.rounds = RoundsOf(row);
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

// Of the first so many rounds; where they are not kept one by one, of all.
RoundTimes TimesOf(const Point& point, int64_t rounds) {
  const JsonValue* list = point.numbers.Find("seconds");
  if (list == nullptr) {
    return {NumberIn(point.numbers, "time"), NumberIn(point.numbers, "mad"),
            point.rounds};
  }
  std::vector<double> seconds;
  for (int64_t i = 0; i < rounds; ++i) {
    seconds.push_back(list->items[static_cast<size_t>(i)].number);
  }
  return {eval::QuantileOf(seconds, 0.5),
          eval::MedianAbsoluteDeviation(seconds), rounds};
}

// Why two times say nothing of each other; empty: they do.
std::string WhyUntimed(const Point& was, const Point& now) {
  const int64_t rounds = std::min(was.rounds, now.rounds);
  for (const Point* point : {&was, &now}) {
    if (std::isnan(NumberIn(point->numbers, "time"))) return "no time";
  }
  if (rounds < kFewestRounds) {
    return fmt::format("fewer than {} rounds", kFewestRounds);
  }
  for (const Point* point : {&was, &now}) {
    if (NumberIn(point->numbers, "mad") >
        eval::kNoisySpread * NumberIn(point->numbers, "time")) {
      return fmt::format("noisy (a spread over {:g} %)",
                         100 * eval::kNoisySpread);
    }
  }
  if (was.rounds != now.rounds && was.numbers.Find("seconds") == nullptr) {
    return "another number of rounds";
  }
  return "";
}

// Whether there is anything to compare; then what of it changed. `rows` are
// compared in all.
bool ComparePoints(const Point& was, const Point& now, int64_t rows,
                   Against* against) {
  bool any = false;
  const auto add = [&](const std::string& number, const JsonValue& before,
                       const JsonValue& after) {
    against->changes.push_back({now.name, now.tokens, number, before, after});
  };
  if (against->no_times.empty()) {
    const std::string why = WhyUntimed(was, now);
    const int64_t rounds = std::min(was.rounds, now.rounds);
    if (!why.empty()) {
      against->untimed.push_back({now.name, now.tokens, why});
    } else if (any = true;
               TimesDiffer(TimesOf(was, rounds), TimesOf(now, rounds), rows)) {
      add("time", PartOf(was.numbers, "time"), PartOf(now.numbers, "time"));
    }
  }
  const double rounding = against->same_machine ? 0 : kQualityRounding;
  for (const NumberInfo& number : Numbers()) {
    if (number.kind == NumberKind::kTime) continue;
    const double before = NumberIn(was.numbers, number.key),
                 after = NumberIn(now.numbers, number.key);
    if (number.kind == NumberKind::kQuality) {
      any = any || !std::isnan(before) || !std::isnan(after);
    } else if (against->same_machine && !SameQuality(before, after, rounding)) {
      add(number.key, PartOf(was.numbers, number.key),
          PartOf(now.numbers, number.key));
    }
  }
  for (const QualityChange& change :
       QualityChanges(was.numbers, now.numbers, rounding)) {
    any = true;
    add(change.place, change.was, change.now);
  }
  return any;
}

// "layers[0].heads.rel_l2[3]" is a rel_l2, and row_rel_l2 is shown as one.
std::string KeyOf(const std::string& place) {
  std::string key = place;
  if (key.back() == ']') key.resize(key.rfind('['));
  key = key.substr(key.rfind('.') + 1);
  return key == "row_rel_l2" ? "rel_l2" : key;
}

// As tables show it; with all its digits where that shows no difference.
Line ShownChange(const Change& change) {
  Line line = {"  " +
               (change.tokens == 0
                    ? change.number
                    : fmt::format("{} at {}", change.number, change.tokens))};
  const std::string key = KeyOf(change.number);
  if (key == "gate") {
    line.insert(line.end(), {change.was.text, change.now.text, ""});
    return line;
  }
  const NumberInfo& number = NumberOf(key);
  if (key == change.number && *number.heading != '\0') {
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

JsonValue TokensJson(int64_t tokens) {
  return tokens == 0 ? JsonValue() : JsonValue::Integer(tokens);
}

std::string Names(const std::string& head,
                  const std::vector<std::string>& names, size_t width) {
  std::string text;
  for (const std::string& name : names) text += WrapText(head + name, width);
  return text;
}

}  // namespace

void CheckSameKind(const RunFile& old, bool sweep) {
  if ((old.tree.Find("sweep") != nullptr) == sweep) return;
  throw io::InputError(io::Quoted(old.path) +
                       (sweep
                            ? " is no sweep of lengths, and this run is one"
                            : " is a sweep of lengths, and this run is none"));
}

std::string MachineDifference(const RunFile& old, const RunFile& now) {
  std::string text;
  for (const FieldDifference& field : MachineDifferences(old.tree, now.tree)) {
    text += fmt::format("{}{} {}, now {}", text.empty() ? "" : "; ",
                        field.label, field.there, field.here);
  }
  return text;
}

Against CompareRuns(const RunFile& old, const RunFile& now) {
  const std::string input = InputDifference(InputOf(old), InputOf(now));
  if (!input.empty()) {
    throw io::InputError(io::Quoted(old.path) + " has another input: " + input);
  }
  CheckSameKind(old, now.tree.Find("sweep") != nullptr);
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
  std::vector<std::pair<const Point*, const Point*>> pairs;
  for (const Point& point : after) {
    const Point* same = FindPoint(before, point);
    if (same == nullptr) {
      against.only_now.push_back(point.Label());
      continue;
    }
    pairs.push_back({same, &point});
  }
  against.compared = static_cast<int64_t>(pairs.size());
  bool any = false;
  for (const auto& [was_row, is_row] : pairs) {
    any |= ComparePoints(*was_row, *is_row, against.compared, &against);
  }
  // That nothing changed would be no finding.
  if (!any) {
    throw io::InputError(io::Quoted(old.path) + " has no " +
                         (pairs.empty() ? "row" : "number") +
                         " that can be compared with this run's");
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
  std::vector<std::pair<std::string, size_t>> reasons;
  for (const Untimed& row : against.untimed) {
    auto it = std::find_if(
        reasons.begin(), reasons.end(),
        [&row](const auto& reason) { return reason.first == row.reason; });
    if (it == reasons.end()) it = reasons.insert(it, {row.reason, 0});
    ++it->second;
  }
  for (const auto& [reason, count] : reasons) {
    text += WrapText(fmt::format("times of {} not compared: {}", count, reason),
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
  JsonValue untimed = JsonValue::Array();
  for (const Untimed& row : against.untimed) {
    JsonValue entry = JsonValue::Object();
    entry.Set("name", JsonValue::String(row.row));
    entry.Set("tokens", TokensJson(row.tokens));
    entry.Set("reason", JsonValue::String(row.reason));
    untimed.items.push_back(std::move(entry));
  }
  json.Set("untimed", std::move(untimed));
  JsonValue changes = JsonValue::Array();
  for (const Change& change : against.changes) {
    JsonValue entry = JsonValue::Object();
    entry.Set("name", JsonValue::String(change.row));
    entry.Set("tokens", TokensJson(change.tokens));
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
