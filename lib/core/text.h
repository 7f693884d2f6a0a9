// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Text into a caller's buffer: no allocation, no locale, no printf.
#ifndef HEED_LIB_CORE_TEXT_H_
#define HEED_LIB_CORE_TEXT_H_

#include <cstddef>
#include <cstdint>

namespace heed::internal {

class TextWriter {
 public:
  TextWriter(char* text, size_t capacity) : text_(text), capacity_(capacity) {}

  TextWriter& Text(const char* text) {
    for (; *text != '\0'; ++text) Put(*text);
    return *this;
  }
  TextWriter& Integer(int64_t value) {
    char digits[20];
    int count = 0;
    uint64_t rest = static_cast<uint64_t>(value);
    if (value < 0) {
      Put('-');
      rest = ~rest + 1;
    }
    do {
      digits[count++] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    while (count > 0) Put(digits[--count]);
    return *this;
  }
  // Ends the text with a zero. Returns the length of the uncut text.
  size_t Finish() {
    if (capacity_ > 0) text_[length_ < capacity_ ? length_ : capacity_ - 1] = 0;
    return length_;
  }

 private:
  void Put(char c) {
    if (length_ + 1 < capacity_) text_[length_] = c;
    ++length_;
  }

  char* text_;
  size_t capacity_;
  size_t length_ = 0;
};

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_TEXT_H_
