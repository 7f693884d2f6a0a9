// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One list of fields.
#include "tools/heed/machine.h"

#include <fmt/format.h>

#include "lib/io/quoted.h"

namespace heed::tool {
namespace {

using io::JsonValue;

struct Field {
  const char* name;  // part and key
  const char* part;
  const char* key;
  const char* label;
  bool of_machine;
};

constexpr Field kFields[] = {
    {"environment.version", "environment", "version", "version", false},
    {"environment.compiler", "environment", "compiler", "compiler", false},
    {"environment.cpu", "environment", "cpu", "CPU", true},
    {"environment.processors", "environment", "processors", "processors", true},
    {"environment.caches", "environment", "caches", "caches", true},
    {"run.threads", "run", "threads", "threads", true},
    {"run.thread_library", "run", "thread_library", "threads by", true},
    {"run.target", "run", "target", "kernel", true},
    {"run.repeats", "run", "repeats", "rounds", false},
};

// "L1 Data 32K, L2 Unified 1024K": what differs may be one size of them.
std::string CachesText(const JsonValue& caches) {
  std::string text;
  for (const JsonValue& cache : caches.items) {
    const auto part = [&cache](const char* key) {
      const JsonValue* value = cache.Find(key);
      if (value == nullptr) return std::string("?");
      return value->kind == JsonValue::Kind::kInteger
                 ? std::to_string(value->integer)
                 : io::Printable(value->text);
    };
    text += fmt::format("{}L{} {} {} of {}", text.empty() ? "" : ", ",
                        part("level"), part("type"), part("size"),
                        part("shared_by"));
  }
  return text;
}

std::string ValueText(const JsonValue* value) {
  if (value == nullptr) return "none";
  switch (value->kind) {
    case JsonValue::Kind::kString:
      return io::Printable(value->text);
    case JsonValue::Kind::kInteger:
      return std::to_string(value->integer);
    case JsonValue::Kind::kArray:
      return CachesText(*value);
    default:
      return "none";
  }
}

std::vector<FieldDifference> Differences(const JsonValue& there,
                                         const JsonValue& here,
                                         bool machine_alone) {
  std::vector<FieldDifference> differences;
  for (const Field& field : kFields) {
    if (machine_alone && !field.of_machine) continue;
    const JsonValue *a = there.Find(field.part)->Find(field.key),
                    *b = here.Find(field.part)->Find(field.key);
    if (a == b || (a != nullptr && b != nullptr && *a == *b)) continue;
    differences.push_back(
        {field.name, field.label, ValueText(a), ValueText(b)});
  }
  return differences;
}

}  // namespace

std::vector<FieldDifference> MachineDifferences(const JsonValue& there,
                                                const JsonValue& here) {
  return Differences(there, here, true);
}

std::vector<FieldDifference> TimingDifferences(const JsonValue& there,
                                               const JsonValue& here) {
  return Differences(there, here, false);
}

}  // namespace heed::tool
