// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// JSON in and out. A thin face on nlohmann::json, which takes long to compile
// and so is included by json.cc alone.
#ifndef HEED_LIB_IO_JSON_H_
#define HEED_LIB_IO_JSON_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace heed::io {

// Receives the parts of a JSON text in order. A part that a reader has no use
// for goes to Other. Any of these may throw to stop the parse.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual void StartObject() = 0;
  virtual void EndObject() = 0;
  virtual void StartArray() = 0;
  virtual void EndArray() = 0;
  virtual void Key(const std::string& key) = 0;
  virtual void String(const std::string& value) = 0;
  virtual void Unsigned(uint64_t value) = 0;
  // "a negative number", "a fraction", "true or false", "null".
  virtual void Other(const char* what) = 0;
  // Readers that have a use for these override them.
  virtual void Negative(int64_t) { Other("a negative number"); }
  virtual void Fraction(double) {
    Other("a number with a fraction or beyond 64 bits");
  }
  virtual void Bool(bool) { Other("true or false"); }
  virtual void Null() { Other("null"); }
};

// Feeds `text`, which must be one JSON value, to the handler. Does not recurse:
// nesting costs one bit a level. Throws InputError, with the byte at fault,
// where the text is not JSON (RFC 8259, UTF-8).
void ParseJson(std::string_view text, JsonHandler* handler);

// Builds a JSON text value by value; keys keep their order. Numbers that JSON
// lacks (NaN, Inf) become null, bytes that are not UTF-8 the replacement
// character.
class JsonWriter {
 public:
  JsonWriter();
  ~JsonWriter();
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  void StartObject();
  void StartArray();
  void End();  // closes the innermost object or array
  // Names the next value, inside an object.
  void Key(std::string_view key);

  void String(std::string_view value);
  void Number(double value);
  void Integer(int64_t value);
  void Bool(bool value);
  void Null();

  // Returns the text: indented by `indent` blanks, or on one line for -1.
  std::string Text(int indent = 1) const;

 private:
  struct Tree;
  std::unique_ptr<Tree> tree_;
};

}  // namespace heed::io

#endif  // HEED_LIB_IO_JSON_H_
