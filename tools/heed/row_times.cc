// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Members by the list of numbers.
#include "tools/heed/row_times.h"

#include <utility>
#include <vector>

#include "lib/eval/phase_timer.h"
#include "tools/heed/numbers.h"
#include "tools/heed/run_file.h"
#include "tools/heed/run_form.h"

namespace heed::tool {
namespace {

using io::JsonValue;

// What such a member is where nothing was timed.
std::vector<std::pair<const char*, JsonValue>> NoTimes() {
  std::vector<std::pair<const char*, JsonValue>> members;
  for (const NumberInfo& number : Numbers()) {
    if (number.kind != NumberKind::kQuality)
      members.push_back({number.key, {}});
  }
  members.push_back({"noisy", JsonValue::Bool(false)});
  members.push_back({"pareto", JsonValue::Bool(false)});
  members.push_back({"seconds", JsonValue::Array()});
  JsonValue phases = JsonValue::Object();
  for (const char* phase : eval::kPhaseNames) phases.Set(phase, {});
  members.push_back({"phases", std::move(phases)});
  return members;
}

// Moves what is of a machine out of a row's part in a sweep of lengths.
JsonValue TakeSweptTimes(JsonValue* swept) {
  JsonValue times = JsonValue::Object();
  for (const NumberInfo& number : Numbers()) {
    if (number.kind == NumberKind::kQuality) continue;
    const JsonValue& list = PartOf(*swept, number.key);
    const size_t lengths = list.items.size();
    times.Set(number.key, list);
    swept->Set(number.key,
               JsonValue::Array(std::vector<JsonValue>(lengths, JsonValue())));
  }
  for (const char* key : kSweepTimes) {
    times.Set(key, PartOf(*swept, key));
    swept->Set(key, JsonValue());
  }
  return times;
}

// The same out of a row or a layer, whose other members stay.
JsonValue TakeOwnTimes(JsonValue* row) {
  JsonValue times = JsonValue::Object();
  for (const auto& [key, none] : NoTimes()) {
    times.Set(key, PartOf(*row, key));
    row->Set(key, none);
  }
  return times;
}

}  // namespace

JsonValue TakeTimes(JsonValue* row) {
  JsonValue times = TakeOwnTimes(row);
  if (const JsonValue* sweep = row->Find("sweep")) {
    JsonValue without = *sweep;
    times.Set("sweep", TakeSweptTimes(&without));
    row->Set("sweep", std::move(without));
  }
  if (const JsonValue* layers = row->Find("layers")) {
    JsonValue without = *layers, list = JsonValue::Array();
    for (JsonValue& layer : without.items) {
      list.items.push_back(TakeOwnTimes(&layer));
    }
    row->Set("layers", std::move(without));
    times.Set("layers", std::move(list));
  }
  return times;
}

void PutTimes(const JsonValue& times, JsonValue* row) {
  for (const auto& [key, value] : times.members) {
    if (key == "sweep") {
      JsonValue sweep = PartOf(*row, key);
      for (const auto& [name, list] : value.members) sweep.Set(name, list);
      row->Set(key, std::move(sweep));
      continue;
    }
    if (key != "layers") {
      row->Set(key, value);
      continue;
    }
    JsonValue layers = PartOf(*row, "layers");
    for (size_t l = 0; l < layers.items.size(); ++l) {
      PutTimes(value.items[l], &layers.items[l]);
    }
    row->Set("layers", std::move(layers));
  }
}

}  // namespace heed::tool
