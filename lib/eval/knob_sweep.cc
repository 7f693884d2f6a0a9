// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Reads and writes variant settings.
#include "lib/eval/knob_sweep.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <system_error>

#include "heed/ops.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::eval {
namespace {

using io::InputError;
using io::Quoted;

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string Join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

// "; did you mean 'x'?" or "; there is a, b, c".
std::string Hint(std::string_view name, const std::vector<std::string>& names) {
  const std::string nearest = NearestName(name, names);
  if (!nearest.empty()) return "; did you mean '" + nearest + "'?";
  if (names.empty()) return "; there is none";
  return "; there is " + Join(names);
}

const NamedVariant& FindVariant(std::string_view name,
                                const std::vector<NamedVariant>& variants) {
  std::vector<std::string> names;
  for (const NamedVariant& variant : variants) {
    if (name == variant.name) return variant;
    names.push_back(variant.name);
  }
  throw InputError("unknown variant " + Quoted(name) + Hint(name, names));
}

size_t FindKnob(std::string_view name, const NamedVariant& variant) {
  std::vector<std::string> names;
  for (int i = 0; i < variant.variant.num_knobs; ++i) {
    if (name == variant.variant.knobs[i].name) return static_cast<size_t>(i);
    names.push_back(variant.variant.knobs[i].name);
  }
  throw InputError("variant '" + std::string(variant.name) + "' has no knob " +
                   Quoted(name) + Hint(name, names));
}

double ParseValue(std::string_view text, std::string_view variant,
                  const Knob& knob) {
  const std::string where =
      "knob '" + std::string(knob.name) + "' of " + std::string(variant);
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) {
    throw InputError(where + " needs a number, not " + Quoted(text));
  }
  if (knob.integer && value != std::floor(value)) {
    throw InputError(where + " needs a whole number, not " + Quoted(text));
  }
  if (value < knob.min || value > knob.max) {
    throw InputError(where + " must be in [" + FormatKnobValue(knob.min) +
                     ", " + FormatKnobValue(knob.max) + "], not " +
                     io::Printable(text));
  }
  return value + 0.0;  // -0 is 0
}

// Multiplies a list of settings by the values of one knob.
std::vector<Setting> Cross(const std::vector<Setting>& settings, size_t knob,
                           const std::vector<double>& values) {
  if (settings.size() * values.size() > kMaxSettings) {
    throw InputError("a variant may have at most " +
                     std::to_string(kMaxSettings) + " settings");
  }
  std::vector<Setting> product;
  for (const Setting& setting : settings) {
    for (const double value : values) {
      product.push_back(setting);
      product.back().knobs[knob] = value;
    }
  }
  return product;
}

double Flops(const Setting& setting, const io::Problem& problem) {
  const Variant& variant = setting.variant.variant;
  if (variant.cost == nullptr) return 0;
  return variant.cost(problem.shape, problem.params, setting.knobs.data())
      .flops;
}

// The values of a budget knob around its default, as far as the range allows
// and keys are left out; at least the default.
std::vector<double> BudgetValues(Setting setting, size_t knob_index,
                                 const io::Problem& problem) {
  const Knob& knob = setting.variant.variant.knobs[knob_index];
  setting.knobs[knob_index] = knob.exact_value;
  const double everything = Flops(setting, problem);
  std::vector<double> values;
  for (const double factor : {0.25, 0.5, 1.0, 2.0}) {
    double value = knob.default_value * factor;
    if (knob.integer) value = std::round(value);
    value = std::clamp(value, knob.min, knob.max);
    setting.knobs[knob_index] = value;
    const bool leaves_out = Flops(setting, problem) < everything;
    const bool repeated =
        std::find(values.begin(), values.end(), value) != values.end();
    if (leaves_out && !repeated) values.push_back(value);
  }
  if (values.empty()) values.push_back(knob.default_value);
  return values;
}

std::string SettingText(const Setting& setting, bool without_defaults) {
  std::string text = setting.variant.name;
  for (int i = 0; i < setting.variant.variant.num_knobs; ++i) {
    const Knob& knob = setting.variant.variant.knobs[i];
    const double value = setting.knobs[static_cast<size_t>(i)];
    if (without_defaults && value == knob.default_value) continue;
    text += std::string(":") + knob.name + "=" + FormatKnobValue(value);
  }
  return text;
}

}  // namespace

Setting DefaultSetting(const NamedVariant& variant) {
  Setting setting;
  setting.variant = variant;
  for (int i = 0; i < variant.variant.num_knobs; ++i) {
    setting.knobs[static_cast<size_t>(i)] =
        variant.variant.knobs[i].default_value;
  }
  return setting;
}

std::vector<Setting> ParseSettings(std::string_view text,
                                   const std::vector<NamedVariant>& variants) {
  const std::vector<std::string_view> parts = Split(text, ':');
  const NamedVariant& variant = FindVariant(parts[0], variants);
  std::vector<Setting> settings = {DefaultSetting(variant)};
  std::vector<bool> seen(kMaxKnobs);
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t equals = parts[i].find('=');
    if (equals == std::string_view::npos) {
      throw InputError("after '" + std::string(variant.name) +
                       ":' comes knob=value, not " + Quoted(parts[i]));
    }
    const size_t index = FindKnob(parts[i].substr(0, equals), variant);
    const Knob& knob = variant.variant.knobs[index];
    if (seen[index]) {
      throw InputError("knob '" + std::string(knob.name) + "' of " +
                       variant.name + " is set twice");
    }
    seen[index] = true;
    std::vector<double> values;
    for (const std::string_view value :
         Split(parts[i].substr(equals + 1), ',')) {
      values.push_back(ParseValue(value, variant.name, knob));
    }
    settings = Cross(settings, index, values);
  }
  return settings;
}

int BudgetKnob(const Variant& variant) {
  if (variant.semantics != Semantics::kExactOnSelection) return -1;
  const Knob* end = variant.knobs + variant.num_knobs;
  const Knob* budget = std::find_if(
      variant.knobs, end, [](const Knob& knob) { return knob.has_exact; });
  return budget == end ? -1 : static_cast<int>(budget - variant.knobs);
}

std::vector<Setting> DefaultSweep(const std::vector<NamedVariant>& variants,
                                  const io::Problem& problem) {
  std::vector<Setting> sweep;
  for (const NamedVariant& variant : variants) {
    if (!CheckServes(variant.variant, problem.params, problem.shape).ok()) {
      continue;
    }
    std::vector<Setting> settings = {DefaultSetting(variant)};
    if (const int budget = BudgetKnob(variant.variant); budget >= 0) {
      const size_t index = static_cast<size_t>(budget);
      settings =
          Cross(settings, index, BudgetValues(settings[0], index, problem));
    }
    sweep.insert(sweep.end(), settings.begin(), settings.end());
  }
  return sweep;
}

std::string FormatKnobValue(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  return error == std::errc() ? std::string(text, end) : "?";
}

std::string FormatSetting(const Setting& setting) {
  return SettingText(setting, false);
}

std::string ShortSetting(const Setting& setting) {
  return SettingText(setting, true);
}

std::string NearestName(std::string_view name,
                        const std::vector<std::string>& names) {
  std::string nearest;
  size_t best = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : names) {
    // One row of the Levenshtein table, top to bottom.
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < name.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i + 1;
      for (size_t j = 0; j < candidate.size(); ++j) {
        const size_t replace = diagonal + (name[i] != candidate[j]);
        diagonal = row[j + 1];
        row[j + 1] = std::min({replace, row[j] + 1, row[j + 1] + 1});
      }
    }
    if (row.back() < best) {
      best = row.back();
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace heed::eval
