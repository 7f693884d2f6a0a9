// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A whole JSON text in memory, for readers that ask for its parts by name.
#ifndef HEED_LIB_IO_JSON_VALUE_H_
#define HEED_LIB_IO_JSON_VALUE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/io/json.h"

namespace heed::io {

struct JsonValue {
  enum class Kind { kNull, kBool, kInteger, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  int64_t integer = 0;  // kInteger: written without a fraction, within 64 bits
  double number = 0;    // kNumber and kInteger
  std::string text;
  std::vector<JsonValue> items;                            // kArray
  std::vector<std::pair<std::string, JsonValue>> members;  // kObject, in order

  static JsonValue String(std::string text);
  static JsonValue Number(double value);  // null for NaN and Inf, as in JSON
  static JsonValue Integer(int64_t value);
  static JsonValue Bool(bool value);
  static JsonValue Array(std::vector<JsonValue> items = {});
  static JsonValue Object();

  // The order of members does not count.
  bool operator==(const JsonValue& other) const;

  // Returns the member of an object, or null for what has none of this name.
  const JsonValue* Find(std::string_view key) const;
  // Sets a member: in its place where it exists, else as the last.
  void Set(std::string_view key, JsonValue value);
  void Remove(std::string_view key);
};

// Deeper texts are refused: reading one must not exhaust the stack.
inline constexpr int kDeepestJson = 64;

// Reads one JSON value. Throws InputError where the text is not JSON, is nested
// too deep, or names a member twice.
JsonValue ReadJson(std::string_view text);

// Adds the value to what is written; in an object the caller wrote the key.
void WriteValue(const JsonValue& value, JsonWriter* writer);

// Returns the text as ResultsJson writes it: indented, with an end of line.
std::string JsonText(const JsonValue& value);

}  // namespace heed::io

#endif  // HEED_LIB_IO_JSON_VALUE_H_
