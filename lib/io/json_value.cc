// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A tree from the parser's events, and back.
#include "lib/io/json_value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::io {
namespace {

using Kind = JsonValue::Kind;

class Builder : public JsonHandler {
 public:
  JsonValue Take() { return std::move(root_); }

 private:
  void StartObject() override { Open(JsonValue::Object()); }
  void EndObject() override { open_.pop_back(); }
  void StartArray() override { Open(JsonValue::Array()); }
  void EndArray() override { open_.pop_back(); }
  void Key(const std::string& key) override {
    if (open_.back()->Find(key) != nullptr) {
      throw InputError("has " + Quoted(key) + " twice in one object");
    }
    key_ = key;
  }
  void String(const std::string& value) override {
    Add(JsonValue::String(value));
  }
  void Unsigned(uint64_t value) override {
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    Add(value <= kMost ? JsonValue::Integer(static_cast<int64_t>(value))
                       : JsonValue::Number(static_cast<double>(value)));
  }
  void Negative(int64_t value) override { Add(JsonValue::Integer(value)); }
  void Fraction(double value) override { Add(JsonValue::Number(value)); }
  void Bool(bool value) override { Add(JsonValue::Bool(value)); }
  void Null() override { Add({}); }
  void Other(const char*) override {}

  void Open(JsonValue value) {
    if (open_.size() >= kDeepestJson) {
      throw InputError("is nested deeper than " + std::to_string(kDeepestJson));
    }
    open_.push_back(Add(std::move(value)));
  }

  // Open values stay in place: only the innermost one is appended to.
  JsonValue* Add(JsonValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    JsonValue& parent = *open_.back();
    if (parent.kind == Kind::kObject) {
      parent.members.emplace_back(key_, std::move(value));
      return &parent.members.back().second;
    }
    parent.items.push_back(std::move(value));
    return &parent.items.back();
  }

  JsonValue root_;
  std::vector<JsonValue*> open_;
  std::string key_;
};

JsonValue Of(Kind kind) {
  JsonValue value;
  value.kind = kind;
  return value;
}

}  // namespace

JsonValue JsonValue::String(std::string text) {
  JsonValue value = Of(Kind::kString);
  value.text = std::move(text);
  return value;
}

JsonValue JsonValue::Number(double number) {
  if (!std::isfinite(number)) return {};
  JsonValue value = Of(Kind::kNumber);
  value.number = number;
  return value;
}

JsonValue JsonValue::Integer(int64_t integer) {
  JsonValue value = Of(Kind::kInteger);
  value.integer = integer;
  value.number = static_cast<double>(integer);
  return value;
}

JsonValue JsonValue::Bool(bool boolean) {
  JsonValue value = Of(Kind::kBool);
  value.boolean = boolean;
  return value;
}

JsonValue JsonValue::Array(std::vector<JsonValue> items) {
  JsonValue value = Of(Kind::kArray);
  value.items = std::move(items);
  return value;
}

JsonValue JsonValue::Object() { return Of(Kind::kObject); }

bool JsonValue::operator==(const JsonValue& other) const {
  if (kind != other.kind || boolean != other.boolean ||
      integer != other.integer || number != other.number ||
      text != other.text || items != other.items ||
      members.size() != other.members.size()) {
    return false;
  }
  return std::all_of(members.begin(), members.end(), [&](const auto& member) {
    const JsonValue* same = other.Find(member.first);
    return same != nullptr && *same == member.second;
  });
}

const JsonValue* JsonValue::Find(std::string_view key) const {
  const auto it =
      std::find_if(members.begin(), members.end(),
                   [key](const auto& member) { return member.first == key; });
  return it == members.end() ? nullptr : &it->second;
}

void JsonValue::Set(std::string_view key, JsonValue value) {
  for (auto& member : members) {
    if (member.first != key) continue;
    member.second = std::move(value);
    return;
  }
  members.emplace_back(key, std::move(value));
}

void JsonValue::Remove(std::string_view key) {
  members.erase(
      std::remove_if(members.begin(), members.end(),
                     [key](const auto& member) { return member.first == key; }),
      members.end());
}

JsonValue ReadJson(std::string_view text) {
  Builder builder;
  ParseJson(text, &builder);
  return builder.Take();
}

void WriteValue(const JsonValue& value, JsonWriter* writer) {
  switch (value.kind) {
    case Kind::kNull:
      return writer->Null();
    case Kind::kBool:
      return writer->Bool(value.boolean);
    case Kind::kInteger:
      return writer->Integer(value.integer);
    case Kind::kNumber:
      return writer->Number(value.number);
    case Kind::kString:
      return writer->String(value.text);
    case Kind::kArray:
      writer->StartArray();
      for (const JsonValue& item : value.items) WriteValue(item, writer);
      return writer->End();
    case Kind::kObject:
      writer->StartObject();
      for (const auto& [key, member] : value.members) {
        writer->Key(key);
        WriteValue(member, writer);
      }
      return writer->End();
  }
}

std::string JsonText(const JsonValue& value) {
  JsonWriter writer;
  WriteValue(value, &writer);
  return writer.Text() + "\n";
}

}  // namespace heed::io
