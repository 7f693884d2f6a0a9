// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The only file that includes nlohmann::json.
#include "lib/io/json.h"

#include <cassert>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/io/input_error.h"

namespace heed::io {
namespace {

using Json = nlohmann::ordered_json;

class SaxAdapter {
 public:
  explicit SaxAdapter(JsonHandler* handler) : handler_(handler) {}

  bool null() {
    handler_->Null();
    return true;
  }
  bool boolean(bool value) {
    handler_->Bool(value);
    return true;
  }
  bool number_integer(Json::number_integer_t value) {
    handler_->Negative(value);
    return true;
  }
  bool number_unsigned(Json::number_unsigned_t value) {
    handler_->Unsigned(value);
    return true;
  }
  bool number_float(Json::number_float_t value, const std::string&) {
    handler_->Fraction(value);
    return true;
  }
  bool string(std::string& value) {
    handler_->String(value);
    return true;
  }
  bool binary(Json::binary_t&) {
    handler_->Other("binary");
    return true;
  }
  bool start_object(size_t) {
    handler_->StartObject();
    return true;
  }
  bool key(std::string& value) {
    handler_->Key(value);
    return true;
  }
  bool end_object() {
    handler_->EndObject();
    return true;
  }
  bool start_array(size_t) {
    handler_->StartArray();
    return true;
  }
  bool end_array() {
    handler_->EndArray();
    return true;
  }
  // The parser's own message quotes the input, which may be hostile: only the
  // place is passed on.
  template <typename Exception>
  bool parse_error(size_t position, const std::string&, const Exception&) {
    throw InputError("is not JSON at byte " + std::to_string(position));
  }

 private:
  JsonHandler* handler_;
};

}  // namespace

void ParseJson(std::string_view text, JsonHandler* handler) {
  // The parser takes a NUL for the end of the text, whatever comes after it.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw InputError("is not JSON at byte " + std::to_string(nul + 1));
  }
  SaxAdapter adapter(handler);
  Json::sax_parse(text.begin(), text.end(), &adapter);
}

struct JsonWriter::Tree {
  Json root;
  std::vector<Json*> open;
  std::string key;

  // Elements of open objects stay in place: a container is only appended to
  // while it is the innermost one.
  Json* Add(Json value) {
    if (open.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& parent = *open.back();
    if (parent.is_object()) {
      Json& child = parent[key];
      child = std::move(value);
      return &child;
    }
    parent.push_back(std::move(value));
    return &parent.back();
  }
};

JsonWriter::JsonWriter() : tree_(new Tree) {}
JsonWriter::~JsonWriter() = default;

void JsonWriter::StartObject() {
  tree_->open.push_back(tree_->Add(Json::object()));
}
void JsonWriter::StartArray() {
  tree_->open.push_back(tree_->Add(Json::array()));
}
void JsonWriter::End() {
  assert(!tree_->open.empty());
  tree_->open.pop_back();
}
void JsonWriter::Key(std::string_view key) { tree_->key = key; }
void JsonWriter::String(std::string_view value) { tree_->Add(value); }
void JsonWriter::Number(double value) {
  tree_->Add(std::isfinite(value) ? Json(value) : Json(nullptr));
}
void JsonWriter::Integer(int64_t value) { tree_->Add(value); }
void JsonWriter::Bool(bool value) { tree_->Add(value); }
void JsonWriter::Null() { tree_->Add(nullptr); }

std::string JsonWriter::Text(int indent) const {
  return tree_->root.dump(indent, ' ', /*ensure_ascii=*/false,
                          Json::error_handler_t::replace);
}

}  // namespace heed::io
