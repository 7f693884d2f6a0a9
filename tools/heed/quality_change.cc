// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Outwards in: a number that differs in a row differs in some layer, too.
#include "tools/heed/quality_change.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tools/heed/numbers.h"

namespace heed::tool {
namespace {

using io::JsonValue;

double ValueOf(const JsonValue& value) {
  return value.kind == JsonValue::Kind::kNumber ||
                 value.kind == JsonValue::Kind::kInteger
             ? value.number
             : std::numeric_limits<double>::quiet_NaN();
}

class Search {
 public:
  explicit Search(double rounding) : rounding_(rounding) {}

  // Whether this member differs, which is then told.
  bool Differs(const JsonValue& was, const JsonValue& now,
               const std::string& place, const std::string& key) {
    const JsonValue *a = was.Find(key), *b = now.Find(key);
    if (a == nullptr || b == nullptr) return false;
    if (a->kind == JsonValue::Kind::kArray) {
      return ListDiffers(*a, *b, place + key);
    }
    const bool same = a->kind == JsonValue::Kind::kString
                          ? *a == *b
                          : SameQuality(ValueOf(*a), ValueOf(*b), rounding_);
    if (!same) changes.push_back({place + key, *a, *b});
    return !same;
  }

  std::vector<QualityChange> changes;

 private:
  bool ListDiffers(const JsonValue& was, const JsonValue& now,
                   const std::string& place) {
    const JsonValue none;
    const size_t count = std::max(was.items.size(), now.items.size());
    for (size_t i = 0; i < count; ++i) {
      const JsonValue& a = i < was.items.size() ? was.items[i] : none;
      const JsonValue& b = i < now.items.size() ? now.items[i] : none;
      if (SameQuality(ValueOf(a), ValueOf(b), rounding_)) continue;
      // The truth's own rounding, where a row or head has no other error.
      if (std::fabs(ValueOf(a) - ValueOf(b)) <= rounding_ * 1e-6) continue;
      changes.push_back({fmt::format("{}[{}]", place, i), a, b});
      return true;
    }
    return false;
  }

  double rounding_;
};

}  // namespace

bool SameQuality(double was, double now, double rounding) {
  if (std::isnan(was) || std::isnan(now)) {
    return std::isnan(was) && std::isnan(now);
  }
  return std::fabs(was - now) <=
         rounding * std::max(std::fabs(was), std::fabs(now));
}

std::vector<QualityChange> QualityChanges(const JsonValue& was,
                                          const JsonValue& now,
                                          double rounding) {
  std::vector<std::string> keys = {"gate"};
  for (const NumberInfo& number : Numbers()) {
    if (number.kind == NumberKind::kQuality) keys.push_back(number.key);
  }
  keys.push_back("row_rel_l2");
  const JsonValue none = JsonValue::Array();
  const auto layers_of = [&none](const JsonValue& row) -> const JsonValue& {
    const JsonValue* layers = row.Find("layers");
    return layers == nullptr ? none : *layers;
  };
  const std::vector<JsonValue>&before = layers_of(was).items,
        &after = layers_of(now).items;
  const size_t layers = std::min(before.size(), after.size());
  Search search(rounding);
  for (const std::string& key : keys) {
    bool found = search.Differs(was, now, "", key);
    for (size_t l = 0; l < layers && !found; ++l) {
      found = search.Differs(before[l], after[l], fmt::format("layers[{}].", l),
                             key);
    }
    for (size_t l = 0; l < layers && !found; ++l) {
      const JsonValue *a = before[l].Find("heads"), *b = after[l].Find("heads");
      if (a == nullptr || b == nullptr) continue;
      found = search.Differs(*a, *b, fmt::format("layers[{}].heads.", l), key);
    }
    const JsonValue *a = was.Find("sweep"), *b = now.Find("sweep");
    if (!found && a != nullptr && b != nullptr) {
      search.Differs(*a, *b, "sweep.", key);
    }
  }
  return std::move(search.changes);
}

}  // namespace heed::tool
