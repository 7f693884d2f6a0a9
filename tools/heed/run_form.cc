// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Checks the form once, so that readers need not.
#include "tools/heed/run_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <string_view>
#include <vector>

#include "lib/eval/compare.h"
#include "lib/eval/phase_timer.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/numbers.h"
#include "tools/heed/results.h"
#include "tools/heed/run_file.h"

namespace heed::tool {
namespace {

using io::JsonValue;
using Kind = JsonValue::Kind;

bool IsGate(std::string_view text) {
  for (const eval::Gate gate :
       {eval::Gate::kPassed, eval::Gate::kFailed, eval::Gate::kRefused}) {
    if (text == GateText(gate)) return true;
  }
  return false;
}

// Walks the fields, knowing where it is.
class Checker {
 public:
  explicit Checker(const std::string& path) : path_(path) {}

  const JsonValue& Need(const JsonValue& object, const std::string& place,
                        const char* key, std::initializer_list<Kind> kinds) {
    const JsonValue* value = object.Find(key);
    if (value == nullptr) Fail(place + key + " is missing");
    if (std::find(kinds.begin(), kinds.end(), value->kind) == kinds.end()) {
      Fail(place + key + " is not of its type");
    }
    return *value;
  }

  void Environment(const JsonValue& holder, const std::string& place) {
    const JsonValue& environment =
        Need(holder, place, "environment", {Kind::kObject});
    for (const char* key : {"version", "compiler", "cpu"}) {
      Need(environment, place + "environment.", key, {Kind::kString});
    }
    const std::string in_run = place + "run.";
    const JsonValue& run = Need(holder, place, "run", {Kind::kObject});
    for (const char* key : {"target", "at"}) {
      Need(run, in_run, key, {Kind::kString});
    }
    for (const char* key : {"threads", "repeats", "queries", "seed"}) {
      Need(run, in_run, key, {Kind::kInteger});
    }
    for (const char* key : {"missed", "left_out"}) {
      if (run.Find(key) == nullptr) continue;
      for (const JsonValue& name :
           Need(run, in_run, key, {Kind::kArray}).items) {
        CheckName(name.text, in_run + key + ": ");
      }
    }
  }

  // Times from other machines, in a merged run.
  void Elsewhere(const JsonValue& timings, const std::string& row,
                 size_t num_layers, const JsonValue& tree) {
    const JsonValue* machines = tree.Find("elsewhere");
    for (const JsonValue& timing : timings.items) {
      const std::string place = row + "elsewhere.";
      const int64_t machine =
          Need(timing, place, "machine", {Kind::kInteger}).integer;
      if (machines == nullptr || machine < 1 ||
          machine > static_cast<int64_t>(machines->items.size())) {
        Fail(place + "machine is none of them");
      }
      Times(timing, place);
      OnlyTimes(timing, place, {"machine", "layers", "sweep"});
      if (num_lengths_ > 0) {
        SweptTimes(Need(timing, place, "sweep", {Kind::kObject}),
                   place + "sweep.");
      }
      const JsonValue& layers = Need(timing, place, "layers", {Kind::kArray});
      if (layers.items.size() != num_layers) {
        Fail(place + "layers are not as many as input.layers");
      }
      for (const JsonValue& layer : layers.items) {
        Times(layer, place + "layers.");
        OnlyTimes(layer, place + "layers.", {});
      }
    }
  }

  // Merging moves these members into rows, where others would be in the way.
  void OnlyTimes(const JsonValue& timing, const std::string& place,
                 std::initializer_list<std::string_view> more) {
    for (const auto& member : timing.members) {
      const std::string_view key = member.first;
      const auto is = [key](std::string_view name) { return key == name; };
      const bool known =
          std::any_of(more.begin(), more.end(), is) ||
          std::any_of(tool::Numbers().begin(), tool::Numbers().end(),
                      [&is](const NumberInfo& number) {
                        return number.kind != NumberKind::kQuality &&
                               is(number.key);
                      }) ||
          is("noisy") || is("pareto") || is("seconds") || is("phases");
      if (!known) Fail(place + io::Quoted(key) + " belongs to no machine");
    }
  }

  // What belongs to a machine.
  void Times(const JsonValue& row, const std::string& place) {
    NumbersOf(row, place, false);
    for (const char* key : {"noisy", "pareto"}) {
      Need(row, place, key, {Kind::kBool});
    }
    for (const JsonValue& second :
         Need(row, place, "seconds", {Kind::kArray}).items) {
      if (!IsNumber(second)) Fail(place + "seconds holds what is no number");
      if (second.number < 0) Fail(place + "seconds holds what is negative");
    }
    for (const char* key : {"time", "mad"}) {
      if (PartOf(row, key).number < 0) Fail(place + key + " is negative");
    }
    Phases(row, place);
  }

  // All of them, or where nothing was timed null for each.
  void Phases(const JsonValue& row, const std::string& place) {
    const JsonValue& phases = Need(row, place, "phases", {Kind::kObject});
    for (const char* phase : eval::kPhaseNames) {
      const JsonValue& seconds =
          Need(phases, place + "phases.", phase,
               {Kind::kNumber, Kind::kInteger, Kind::kNull});
      if (seconds.number < 0) Fail(place + "phases." + phase + " is negative");
    }
    if (phases.members.size() != eval::kPhaseNames.size()) {
      Fail(place + "phases has more than the phases");
    }
  }

  // At row_quantiles, or none: where a row's error is no number.
  void RowErrors(const JsonValue& row, const std::string& place) {
    const JsonValue& errors = Need(row, place, "row_rel_l2", {Kind::kArray});
    if (!errors.items.empty() && errors.items.size() != num_quantiles_) {
      Fail(place + "row_rel_l2 has not a number for each of row_quantiles");
    }
    for (const JsonValue& error : errors.items) {
      if (!IsNumber(error) && error.kind != Kind::kNull) {
        Fail(place + "row_rel_l2 holds what is no number");
      }
    }
  }

  // Where the quantiles stand. They are the report's, which shows no others'.
  void RowQuantiles(const JsonValue& tree) {
    const JsonValue& levels = Need(tree, "", "row_quantiles", {Kind::kArray});
    num_quantiles_ = levels.items.size();
    const bool same = std::equal(
        levels.items.begin(), levels.items.end(),
        std::begin(eval::kRowQuantiles), std::end(eval::kRowQuantiles),
        [](const JsonValue& level, double ours) {
          return IsNumber(level) && level.number == ours;
        });
    if (!same) Fail("row_quantiles are not those of this version");
  }

  void NumbersOf(const JsonValue& row, const std::string& place, bool quality) {
    for (const NumberInfo& number : tool::Numbers()) {
      if ((number.kind == NumberKind::kQuality) != quality) continue;
      Need(row, place, number.key,
           {Kind::kNumber, Kind::kInteger, Kind::kNull});
    }
  }

  void Numbers(const JsonValue& row, const std::string& place) {
    NumbersOf(row, place, true);
    Need(row, place, "reason", {Kind::kString});
    if (!IsGate(Need(row, place, "gate", {Kind::kString}).text)) {
      Fail(place + "gate is none");
    }
    for (const char* key : {"cost_recorded", "beaten_by_zeros"}) {
      Need(row, place, key, {Kind::kBool});
    }
    RowErrors(row, place);
    Times(row, place);
  }

  // Names end on terminals.
  void CheckName(const std::string& name, const std::string& place) {
    constexpr size_t kLongest = 512;
    const bool plain = std::all_of(name.begin(), name.end(),
                                   [](char c) { return c > ' ' && c <= '~'; });
    if (name.empty() || name.size() > kLongest || !plain) {
      Fail(place + "name is none");
    }
  }

  // Returns how many there are.
  size_t InputLayers(const JsonValue& holder, const std::string& where,
                     std::initializer_list<const char*> texts) {
    const JsonValue& layers = Need(holder, where, "layers", {Kind::kArray});
    for (size_t i = 0; i < layers.items.size(); ++i) {
      const std::string place = fmt::format("{}layers[{}].", where, i);
      for (const char* key : texts) {
        Need(layers.items[i], place, key, {Kind::kString});
      }
      for (const char* key : {"calls", "rows", "measured_rows"}) {
        Need(layers.items[i], place, key, {Kind::kInteger});
      }
      Need(layers.items[i], place, "heads", {Kind::kArray});
    }
    return layers.items.size();
  }

  void Rows(const JsonValue& tree, const std::string& where,
            size_t num_layers) {
    const JsonValue& rows = Need(tree, where, "rows", {Kind::kArray});
    std::vector<std::string> names;
    int baselines = 0;
    for (size_t i = 0; i < rows.items.size(); ++i) {
      const JsonValue& row = rows.items[i];
      const std::string place = fmt::format("{}rows[{}].", where, i);
      names.push_back(Need(row, place, "name", {Kind::kString}).text);
      CheckName(names.back(), place);
      baselines += Need(row, place, "baseline", {Kind::kBool}).boolean;
      Numbers(row, place);
      const JsonValue& layers = Need(row, place, "layers", {Kind::kArray});
      if (layers.items.size() != num_layers) {
        Fail(place + "layers are not as many as input.layers");
      }
      for (size_t l = 0; l < num_layers; ++l) {
        Layer(layers.items[l], fmt::format("{}layers[{}].", place, l));
      }
      if (row.Find("elsewhere") != nullptr) {
        Elsewhere(*row.Find("elsewhere"), place, num_layers, tree);
      }
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      Fail("rows has " + io::Quoted(*twice) + " twice");
    }
    if (names.empty()) Fail("rows is empty");
    if (baselines != 1) {
      Fail(fmt::format("rows has {} baselines, not one", baselines));
    }
  }

  void Layer(const JsonValue& layer, const std::string& place) {
    Numbers(layer, place);
    const JsonValue& heads = Need(layer, place, "heads", {Kind::kObject});
    size_t count = 0;
    for (const char* key : {"density", "mass_mean", "rel_l2"}) {
      const JsonValue& list =
          Need(heads, place + "heads.", key, {Kind::kArray});
      if (key != std::string_view("density") && list.items.size() != count) {
        Fail(place + "heads are not of one length");
      }
      count = list.items.size();
      for (const JsonValue& item : list.items) {
        if (!IsNumber(item) && item.kind != Kind::kNull) {
          Fail(place + "heads hold what is no number");
        }
      }
    }
  }

  void Tokens(const JsonValue& sweep) {
    const JsonValue& tokens = Need(sweep, "sweep.", "tokens", {Kind::kArray});
    for (const JsonValue& length : tokens.items) {
      if (length.kind != Kind::kInteger || length.integer < 1) {
        Fail("sweep.tokens holds what is no length");
      }
    }
    num_lengths_ = tokens.items.size();
  }

  void Sweep(const JsonValue& sweep, const JsonValue& rows) {
    const JsonValue& swept = Need(sweep, "sweep.", "rows", {Kind::kArray});
    if (swept.items.size() != rows.items.size()) {
      Fail("sweep.rows are not as many as rows");
    }
    for (size_t i = 0; i < swept.items.size(); ++i) {
      const std::string place = fmt::format("sweep.rows[{}].", i);
      const JsonValue& row = swept.items[i];
      if (Need(row, place, "name", {Kind::kString}).text !=
          rows.items[i].Find("name")->text) {
        Fail(place + "name is not that of the row");
      }
      for (const NumberInfo& number : tool::Numbers()) {
        AtLengths(row, place, number);
      }
      SweptTimes(row, place);
    }
  }

  // What of a row in a sweep belongs to a machine.
  void SweptTimes(const JsonValue& row, const std::string& place) {
    for (const NumberInfo& number : tool::Numbers()) {
      if (number.kind != NumberKind::kQuality) AtLengths(row, place, number);
    }
    for (const char* key : kSweepTimes) {
      Need(row, place, key,
           {Kind::kNumber, Kind::kInteger, Kind::kString, Kind::kNull});
    }
  }

  void AtLengths(const JsonValue& row, const std::string& place,
                 const NumberInfo& number) {
    const JsonValue& list = Need(row, place, number.key, {Kind::kArray});
    if (list.items.size() != num_lengths_) {
      Fail(place + number.key + " has not a number for each of the tokens");
    }
    for (const JsonValue& item : list.items) {
      if (!IsNumber(item) && item.kind != Kind::kNull) {
        Fail(place + number.key + " holds what is no number");
      }
      if (number.kind == NumberKind::kTime && item.number < 0) {
        Fail(place + number.key + " is negative");
      }
    }
  }

  // A sweep's lengths but the longest, where it ran row by row.
  void Shorter(const JsonValue& tree, size_t num_layers) {
    const JsonValue& list = Need(tree, "", "shorter", {Kind::kArray});
    if (list.items.size() + 1 != num_lengths_) {
      Fail("shorter has not each of the tokens but the last");
    }
    const JsonValue& rows = *tree.Find("rows");
    for (size_t l = 0; l < list.items.size(); ++l) {
      const std::string place = fmt::format("shorter[{}].", l);
      const JsonValue& length = list.items[l];
      if (InputLayers(length, place, {"name", "problem"}) != num_layers) {
        Fail(place + "layers are not as many as input.layers");
      }
      Rows(length, place, num_layers);
      const JsonValue& others = *length.Find("rows");
      const bool same = std::equal(
          rows.items.begin(), rows.items.end(), others.items.begin(),
          others.items.end(), [](const JsonValue& a, const JsonValue& b) {
            return a.Find("name")->text == b.Find("name")->text &&
                   a.Find("baseline")->boolean == b.Find("baseline")->boolean;
          });
      if (!same) Fail(place + "rows are not those of the longest length");
    }
  }

  [[noreturn]] void Fail(const std::string& what) {
    throw io::InputError(fmt::format("{} is not a comparison of this heed: {}",
                                     io::Quoted(path_), what));
  }

 private:
  const std::string& path_;
  size_t num_quantiles_ = 0;
  size_t num_lengths_ = 0;  // of a sweep
};

}  // namespace

void CheckForm(const std::string& path, const JsonValue& tree) {
  Checker checker(path);
  const JsonValue& format = checker.Need(tree, "", "format", {Kind::kString});
  if (format.text != "heed-compare-1") {
    checker.Fail("format is " + io::Quoted(format.text));
  }
  checker.Need(tree, "", "command", {Kind::kString});
  checker.Need(tree, "", "began", {Kind::kString});
  checker.Environment(tree, "");
  if (tree.Find("elsewhere") != nullptr) {
    for (const JsonValue& other :
         checker.Need(tree, "", "elsewhere", {Kind::kArray}).items) {
      checker.Environment(other, "elsewhere.");
    }
  }
  const JsonValue& input = checker.Need(tree, "", "input", {Kind::kObject});
  const size_t layers =
      checker.InputLayers(input, "input.", {"name", "problem", "hash"});
  checker.RowQuantiles(tree);
  const JsonValue* sweep = tree.Find("sweep");
  if (sweep != nullptr) checker.Tokens(*sweep);
  checker.Rows(tree, "", layers);
  if (sweep != nullptr) checker.Sweep(*sweep, *tree.Find("rows"));
  if (tree.Find("shorter") != nullptr) checker.Shorter(tree, layers);
}

}  // namespace heed::tool
