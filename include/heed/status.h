// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The result of every call that can be refused.
#ifndef HEED_STATUS_H_
#define HEED_STATUS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "heed/export.h"

namespace heed {

enum class StatusCode : int32_t {
  kOk = 0,
  kInvalidArgument = 1,  // a value that no version would accept
  kUnsupported = 2,      // a sound request that this version does not serve
  kOverflow = 3,         // extents or strides whose product leaves 64 bits
  kWorkspace = 4,        // workspace missing, too small or misaligned
  kOutOfMemory = 5,      // the one-shot call could not get its workspace
  kInternal = 6,         // an executor dropped or repeated tasks
};

// How a bound stands to the value that missed it: a word of the sentence.
enum class BoundKind : int32_t {
  kAtMost = 0,   // "got 1025, at most 1024"
  kAtLeast = 1,  // "got -1, at least 0"
  kNeeds = 2,    // "got 7, needs 8"
  kOver = 3,     // "got 8 heads over 3": the one must divide by the other
  kOf = 4,       // "got 5 tasks of 6"
  kSaid = 5,     // not in the sentence: the message says it
};

// A code and what it is about. All text is static: a Status owns nothing, is
// cheap to copy and never allocates. A refused call has written nothing.
class Status {
 public:
  constexpr Status() = default;
  constexpr Status(StatusCode code, const char* argument, const char* message)
      : code_(code), argument_(argument), message_(message) {}

  constexpr Status& WithIndex(int64_t index) {
    index_ = index;
    has_index_ = true;
    return *this;
  }
  constexpr Status& WithValue(int64_t value) {
    value_ = value;
    has_value_ = true;
    return *this;
  }
  // The limit that the value missed.
  constexpr Status& WithBound(int64_t bound,
                              BoundKind kind = BoundKind::kAtMost) {
    bound_ = bound;
    bound_kind_ = kind;
    has_bound_ = true;
    return *this;
  }
  // What value and bound count, such as "bytes".
  constexpr Status& WithUnit(const char* unit) {
    unit_ = unit;
    return *this;
  }

  constexpr bool ok() const { return code_ == StatusCode::kOk; }
  constexpr StatusCode code() const { return code_; }
  // What is wrong with the argument, without the numbers; "ok" when nothing is.
  constexpr const char* message() const { return message_; }
  // The argument that is wrong, such as "key" or "window_left"; "" if none.
  constexpr const char* argument() const { return argument_; }
  constexpr bool has_index() const { return has_index_; }
  constexpr bool has_value() const { return has_value_; }
  constexpr bool has_bound() const { return has_bound_; }
  constexpr int64_t index() const { return index_; }
  constexpr int64_t value() const { return value_; }
  constexpr int64_t bound() const { return bound_; }
  constexpr BoundKind bound_kind() const { return bound_kind_; }
  constexpr const char* unit() const { return unit_; }  // "" if none

 private:
  StatusCode code_ = StatusCode::kOk;
  const char* argument_ = "";
  const char* message_ = "ok";
  const char* unit_ = "";
  int64_t index_ = 0;
  int64_t value_ = 0;
  int64_t bound_ = 0;
  BoundKind bound_kind_ = BoundKind::kAtMost;
  bool has_index_ = false;
  bool has_value_ = false;
  bool has_bound_ = false;
};

// Returns "invalid argument" and so on.
HEED_API const char* NameOf(StatusCode code);

// Writes one sentence, such as "invalid argument: num_heads: must be a multiple
// of num_kv_heads (got 8 heads over 3)", and a terminating zero, cut to
// `capacity` bytes. Returns the length of the whole sentence without the zero.
HEED_API size_t FormatStatus(const Status& status, char* text, size_t capacity);

// The same as a string.
inline std::string ToString(const Status& status) {
  std::string text(FormatStatus(status, nullptr, 0), '\0');
  FormatStatus(status, &text[0], text.size() + 1);
  return text;
}

}  // namespace heed

#endif  // HEED_STATUS_H_
