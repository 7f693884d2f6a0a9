// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The safetensors header: a JSON object of known shape, taken part by part so
// that nothing outside that shape is ever stored.
#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "lib/io/input_error.h"
#include "lib/io/json.h"
#include "lib/io/quoted.h"
#include "lib/io/safetensors.h"

namespace heed::io {
namespace {

struct DTypeBits {
  const char* name;
  uint64_t bits;
};

// Everything the format knows: tensors that nobody reads must still be measured
// to see that the file has no holes.
constexpr DTypeBits kDTypes[] = {
    {"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},
    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4},      {"C64", 64},    {"I64", 64},
    {"I32", 32},    {"I16", 16},    {"I8", 8},      {"U64", 64},
    {"U32", 32},    {"U16", 16},    {"U8", 8},      {"BOOL", 8},
};

uint64_t BitsOf(const std::string& dtype) {
  for (const DTypeBits& known : kDTypes) {
    if (dtype == known.name) return known.bits;
  }
  return 0;
}

// {"__metadata__": {text: text}, name: {"dtype": text, "shape": [n, ...],
//  "data_offsets": [n, n]}, ...}
class HeaderHandler : public JsonHandler {
 public:
  explicit HeaderHandler(SafetensorsHeader* header) : header_(header) {}

  void StartObject() override {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kTop;
        return;
      case Place::kTopValue:
        place_ = is_metadata_ ? Place::kMetadata : Place::kTensor;
        return;
      default:
        Misplaced("an object");
    }
  }

  void EndObject() override {
    if (place_ == Place::kTensor) FinishTensor();
    place_ = place_ == Place::kTop ? Place::kStart : Place::kTop;
  }

  void StartArray() override {
    if (place_ == Place::kShape && !in_array_) {
      in_array_ = true;
    } else if (place_ == Place::kOffsets && !in_array_) {
      in_array_ = true;
    } else {
      Misplaced("a list");
    }
  }

  void EndArray() override {
    in_array_ = false;
    place_ = Place::kTensor;
  }

  void Key(const std::string& key) override {
    switch (place_) {
      case Place::kTop:
        is_metadata_ = key == "__metadata__";
        if (!names_.insert(key).second) Duplicate(key);
        entry_ = SafetensorsEntry();
        entry_.name = key;
        has_dtype_ = has_shape_ = has_offsets_ = false;
        num_offsets_ = 0;
        place_ = Place::kTopValue;
        return;
      case Place::kMetadata:
        if (header_->metadata.count(key) != 0) Duplicate(key);
        metadata_key_ = key;
        return;
      case Place::kTensor:
        return TensorKey(key);
      default:
        Misplaced("a key");
    }
  }

  void String(const std::string& value) override {
    if (place_ == Place::kMetadata) {
      header_->metadata.emplace(metadata_key_, value);
    } else if (place_ == Place::kDType) {
      entry_.dtype = value;
      place_ = Place::kTensor;
    } else {
      Misplaced("a text");
    }
  }

  void Unsigned(uint64_t value) override {
    if (!in_array_) Misplaced("a number");
    if (place_ == Place::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        Fail("an extent beyond 64 bits");
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (num_offsets_ == 2) Fail("more than two data_offsets");
      (num_offsets_ == 0 ? entry_.begin : entry_.end) = value;
      ++num_offsets_;
    }
  }

  void Other(const char* what) override { Misplaced(what); }

 private:
  enum class Place {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kTensor,
    kDType,
    kShape,
    kOffsets
  };

  [[noreturn]] void Misplaced(const char* what) const {
    if (place_ == Place::kStart) {
      throw InputError(std::string("has a header that is ") + what +
                       ", not an object");
    }
    Fail(std::string(what) + " where the format has none");
  }
  [[noreturn]] void Fail(const std::string& what) const {
    throw InputError("has " + what + " in the header entry " +
                     Quoted(entry_.name));
  }
  [[noreturn]] void Duplicate(const std::string& key) const {
    throw InputError("has the header key " + Quoted(key) + " twice");
  }

  void TensorKey(const std::string& key) {
    if (key == "dtype") {
      if (std::exchange(has_dtype_, true)) Duplicate(key);
      place_ = Place::kDType;
    } else if (key == "shape") {
      if (std::exchange(has_shape_, true)) Duplicate(key);
      place_ = Place::kShape;
    } else if (key == "data_offsets") {
      if (std::exchange(has_offsets_, true)) Duplicate(key);
      place_ = Place::kOffsets;
    } else {
      Fail("the unknown key " + Quoted(key));
    }
  }

  // Checks the tensor alone; places in the file are checked once all are known.
  void FinishTensor() {
    if (!has_dtype_ || !has_shape_ || !has_offsets_) {
      Fail("no dtype, shape or data_offsets");
    }
    if (num_offsets_ != 2) Fail("fewer than two data_offsets");
    if (entry_.begin > entry_.end) Fail("data_offsets that run backwards");
    const uint64_t bits_each = BitsOf(entry_.dtype);
    if (bits_each == 0) Fail("the unknown dtype " + Quoted(entry_.dtype));
    uint64_t count = 1;
    for (const int64_t extent : entry_.shape) {
      if (__builtin_mul_overflow(count, static_cast<uint64_t>(extent),
                                 &count)) {
        Fail("a shape whose product overflows");
      }
    }
    uint64_t bits = 0;
    if (__builtin_mul_overflow(count, bits_each, &bits)) {
      Fail("a shape whose product overflows");
    }
    if (bits % 8 != 0 || entry_.end - entry_.begin != bits / 8) {
      Fail("data_offsets that do not fit its shape and dtype");
    }
    entry_.num_elements = static_cast<int64_t>(count);
    header_->entries.push_back(std::move(entry_));
  }

  SafetensorsHeader* header_;
  Place place_ = Place::kStart;
  bool is_metadata_ = false;
  bool in_array_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int num_offsets_ = 0;
  SafetensorsEntry entry_;
  std::string metadata_key_;
  std::set<std::string> names_;
};

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::string_view text,
                                         uint64_t data_bytes) {
  SafetensorsHeader header;
  HeaderHandler handler(&header);
  try {
    ParseJson(text, &handler);
  } catch (const InputError& error) {
    if (std::string_view(error.what()).starts_with("is not JSON")) {
      throw InputError(std::string("has a header that ") + error.what());
    }
    throw;
  }
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
            });
  uint64_t expected = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.end > data_bytes) {
      throw InputError("is cut short: tensor " + Quoted(entry.name) +
                       " ends at byte " + std::to_string(entry.end) +
                       " of the data, which has " + std::to_string(data_bytes));
    }
    if (entry.begin != expected) {
      throw InputError("has a hole or an overlap before tensor " +
                       Quoted(entry.name));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    throw InputError("has " + std::to_string(data_bytes - expected) +
                     " bytes after the last tensor");
  }
  return header;
}

}  // namespace heed::io
