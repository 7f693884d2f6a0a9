// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Each row's quality is separated from its times, which belong to a machine.
#include "tools/heed/merge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "lib/eval/frontier.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/machine.h"
#include "tools/heed/quality_change.h"
#include "tools/heed/results.h"
#include "tools/heed/row_times.h"

namespace heed::tool {
namespace {

using io::JsonValue;

// The members "environment" and "run" of a comparison.
JsonValue MachineOf(const JsonValue& holder) {
  JsonValue machine = JsonValue::Object();
  for (const char* key : {"environment", "run"}) {
    machine.Set(key, PartOf(holder, key));
  }
  return machine;
}

// Times of a row or a layer: the members of it that belong to a machine.
struct Timing {
  size_t machine = 0;
  JsonValue members;
};

struct Row {
  JsonValue quality;  // the row without times
  std::vector<Timing> timings;
};

struct Joined {
  JsonValue tree;                   // what is neither machine nor row
  std::vector<JsonValue> machines;  // as MachineOf returns them
  std::vector<Row> rows;
};

Joined Split(const RunFile& run) {
  Joined joined;
  joined.tree = run.tree;
  joined.tree.Remove("against");
  joined.tree.Remove("elsewhere");
  joined.tree.Remove("shorter");  // of one machine, to resume there
  const JsonValue* sweep = run.tree.Find("sweep");
  joined.machines.push_back(MachineOf(run.tree));
  if (const JsonValue* others = run.tree.Find("elsewhere")) {
    for (const JsonValue& other : others->items) {
      joined.machines.push_back(MachineOf(other));
    }
  }
  for (size_t i = 0; i < RowsOf(run).size(); ++i) {
    const JsonValue& original = RowsOf(run)[i];
    Row row;
    row.quality = original;
    row.quality.Remove("elsewhere");
    row.quality.Remove("here");
    row.quality.Remove("sweep");  // no row of a file has one that is its own
    if (sweep != nullptr) {
      row.quality.Set("sweep", PartOf(*sweep, "rows").items[i]);
    }
    JsonValue times = TakeTimes(&row.quality);
    if (original.Find("here") == nullptr) {
      row.timings.push_back({0, std::move(times)});
    }
    if (const JsonValue* others = original.Find("elsewhere")) {
      for (const JsonValue& other : others->items) {
        Timing timing = {static_cast<size_t>(PartOf(other, "machine").integer),
                         other};
        timing.members.Remove("machine");
        row.timings.push_back(std::move(timing));
      }
    }
    joined.rows.push_back(std::move(row));
  }
  return joined;
}

// Adds the strings of b's list that a's has not.
void AddStrings(const char* key, const JsonValue& b, JsonValue* a) {
  const JsonValue* more = b.Find(key);
  if (more == nullptr) return;
  JsonValue list = a->Find(key) == nullptr ? JsonValue::Array() : *a->Find(key);
  for (const JsonValue& item : more->items) {
    if (std::find(list.items.begin(), list.items.end(), item) ==
        list.items.end()) {
      list.items.push_back(item);
    }
  }
  a->Set(key, std::move(list));
}

// Returns a field in which two rows' quality differs, "" where it does not.
std::string QualityDifference(const JsonValue& there, const JsonValue& here) {
  const std::vector<QualityChange> changes =
      QualityChanges(there, here, kQualityRounding);
  if (changes.empty()) return "";
  const auto shown = [](const JsonValue& value) {
    if (value.kind == JsonValue::Kind::kString) return value.text;
    return value.kind == JsonValue::Kind::kNull
               ? std::string("none")
               : fmt::format("{}", value.number);
  };
  return fmt::format("{} is {}, not {}", changes[0].place,
                     shown(changes[0].was), shown(changes[0].now));
}

[[noreturn]] void Refuse(const RunFile& run, const RunFile& first,
                         const std::string& why) {
  throw io::InputError(fmt::format("{} cannot be merged with {}: {}",
                                   io::Quoted(run.path), io::Quoted(first.path),
                                   why));
}

// "512, 1024", or "none" where a run is no sweep of lengths.
std::string LengthsText(const RunFile& run) {
  const std::vector<int64_t> lengths = LengthsOf(run);
  return lengths.empty() ? "none" : fmt::format("{}", fmt::join(lengths, ", "));
}

void CheckMixed(const RunFile& run, const RunFile& first) {
  const auto text = [](const RunFile& file, const char* part, const char* key) {
    return TextOf(PartOf(file.tree, part), key);
  };
  for (const auto& [part, key] :
       {std::pair{"environment", "version"}, std::pair{"run", "at"}}) {
    const std::string there = text(run, part, key);
    const std::string here = text(first, part, key);
    if (there == here) continue;
    Refuse(run, first,
           fmt::format("{}.{} is {}, not {}", part, key, io::Quoted(there),
                       io::Quoted(here)));
  }
  const std::string there = LengthsText(run), here = LengthsText(first);
  if (there != here) {
    Refuse(run, first, fmt::format("sweep.tokens are {}, not {}", there, here));
  }
  const std::string input = InputDifference(InputOf(run), InputOf(first));
  if (!input.empty()) Refuse(run, first, input);
}

void AddRow(const Row& row, const std::vector<size_t>& machines,
            const RunFile& run, const RunFile& first, Joined* joined) {
  const std::string& name = TextOf(row.quality, "name");
  auto it = std::find_if(joined->rows.begin(), joined->rows.end(),
                         [&name](const Row& other) {
                           return TextOf(other.quality, "name") == name;
                         });
  if (it == joined->rows.end()) {
    it = joined->rows.insert(it, Row{row.quality, {}});
  } else if (const std::string difference =
                 QualityDifference(row.quality, it->quality);
             !difference.empty()) {
    Refuse(run, first, "of " + name + " " + difference);
  }
  for (const Timing& timing : row.timings) {
    const size_t machine = machines[timing.machine];
    const auto place = std::lower_bound(
        it->timings.begin(), it->timings.end(), machine,
        [](const Timing& other, size_t m) { return other.machine < m; });
    if (place != it->timings.end() && place->machine == machine) continue;
    it->timings.insert(place, {machine, timing.members});
  }
}

void Add(const RunFile& run, const RunFile& first, Joined* joined) {
  const Joined more = Split(run);
  std::vector<size_t> machines;
  for (const JsonValue& machine : more.machines) {
    auto it = std::find_if(joined->machines.begin(), joined->machines.end(),
                           [&](const JsonValue& other) {
                             return TimingDifferences(machine, other).empty();
                           });
    if (it == joined->machines.end()) {
      it = joined->machines.insert(it, machine);
    }
    JsonValue made = PartOf(*it, "run");
    for (const char* key : {"missed", "left_out"}) {
      AddStrings(key, PartOf(machine, "run"), &made);
    }
    it->Set("run", std::move(made));
    machines.push_back(static_cast<size_t>(it - joined->machines.begin()));
  }
  for (const Row& row : more.rows) AddRow(row, machines, run, first, joined);
  const std::string& began = TextOf(run.tree, "began");
  if (began < TextOf(joined->tree, "began")) {
    joined->tree.Set("began", JsonValue::String(began));
  }
}

// What was left out in one run may be there from another.
void DropFound(Joined* joined) {
  for (JsonValue& machine : joined->machines) {
    JsonValue made = PartOf(machine, "run");
    const JsonValue* left = made.Find("left_out");
    if (left == nullptr) continue;
    JsonValue list = JsonValue::Array();
    for (const JsonValue& name : left->items) {
      const bool found = std::any_of(
          joined->rows.begin(), joined->rows.end(), [&name](const Row& row) {
            return TextOf(row.quality, "name") == name.text;
          });
      if (!found) list.items.push_back(name);
    }
    made.Set("left_out", std::move(list));
    machine.Set("run", std::move(made));
  }
}

// Finds the frontier of one machine in all layers together (`layer` is -1), or
// in one.
void SetFrontier(size_t machine, int layer, std::vector<Row>* rows) {
  const auto part = [layer](JsonValue* whole) -> JsonValue* {
    if (layer < 0) return whole;
    for (auto& [key, value] : whole->members) {
      if (key == "layers") return &value.items[static_cast<size_t>(layer)];
    }
    return nullptr;
  };
  double baseline = 0;
  for (Row& row : *rows) {
    if (PartOf(row.quality, "baseline").boolean) {
      baseline = NumberIn(*part(&row.quality), "rel_l2");
    }
  }
  std::vector<eval::TradeOff> points;
  std::vector<JsonValue*> places;
  for (Row& row : *rows) {
    for (Timing& timing : row.timings) {
      if (timing.machine != machine) continue;
      JsonValue& times = *part(&timing.members);
      const JsonValue& quality = *part(&row.quality);
      places.push_back(&times);
      points.push_back(
          {NumberIn(times, "time"), NumberIn(times, "mad"),
           eval::RankedError(NumberIn(quality, "rel_l2"), baseline),
           PartOf(times, "noisy").boolean,
           TextOf(quality, "gate") == GateText(eval::Gate::kPassed)});
    }
  }
  const std::vector<bool> frontier = eval::ParetoFrontier(points);
  for (size_t i = 0; i < points.size(); ++i) {
    places[i]->Set("pareto", JsonValue::Bool(frontier[i]));
  }
}

JsonValue Unsplit(const Joined& joined) {
  JsonValue tree = joined.tree;
  for (const auto& [key, value] : joined.machines[0].members) {
    tree.Set(key, value);
  }
  JsonValue others =
      JsonValue::Array({joined.machines.begin() + 1, joined.machines.end()});
  if (!others.items.empty()) tree.Set("elsewhere", std::move(others));
  JsonValue rows = JsonValue::Array(), swept = JsonValue::Array();
  for (const Row& row : joined.rows) {
    JsonValue whole = row.quality;
    JsonValue elsewhere = JsonValue::Array();
    bool here = false;
    for (const Timing& timing : row.timings) {
      if (timing.machine == 0) {
        here = true;
        PutTimes(timing.members, &whole);
        continue;
      }
      JsonValue entry = timing.members;
      entry.Set("machine",
                JsonValue::Integer(static_cast<int64_t>(timing.machine)));
      elsewhere.items.push_back(std::move(entry));
    }
    if (const JsonValue* part = whole.Find("sweep")) {
      swept.items.push_back(*part);
      whole.Remove("sweep");
    }
    if (!here) whole.Set("here", JsonValue::Bool(false));
    if (!elsewhere.items.empty()) whole.Set("elsewhere", std::move(elsewhere));
    rows.items.push_back(std::move(whole));
  }
  if (const JsonValue* sweep = tree.Find("sweep")) {
    JsonValue whole = *sweep;
    whole.Set("rows", std::move(swept));
    tree.Set("sweep", std::move(whole));
  }
  tree.Set("rows", std::move(rows));
  return tree;
}

}  // namespace

JsonValue MergeRuns(const std::vector<RunFile>& runs) {
  Joined joined = Split(runs[0]);
  for (const RunFile& run : runs) {
    CheckMixed(run, runs[0]);
    Add(run, runs[0], &joined);
  }
  DropFound(&joined);
  const int layers = static_cast<int>(InputOf(runs[0]).layers.size());
  for (size_t m = 0; m < joined.machines.size(); ++m) {
    for (int layer = -1; layer < layers; ++layer) {
      SetFrontier(m, layer, &joined.rows);
    }
  }
  return Unsplit(joined);
}

size_t CountMachines(const JsonValue& tree) {
  const JsonValue* others = tree.Find("elsewhere");
  return 1 + (others == nullptr ? 0 : others->items.size());
}

}  // namespace heed::tool
