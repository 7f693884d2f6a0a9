// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Takes UTF-8 apart, character by character.
#include "lib/io/quoted.h"

#include <cstdint>

namespace heed::io {
namespace {

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;  // 0 where the text does not begin with a character
};

unsigned ByteAt(std::string_view text, size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// The first character of a text that is not empty.
Character First(std::string_view text) {
  const unsigned lead = ByteAt(text, 0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  uint32_t code = lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((ByteAt(text, i) & 0xc0u) != 0x80) return {};
    code = code << 6 | (ByteAt(text, i) & 0x3fu);
  }
  constexpr uint32_t kSmallest[] = {0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kSmallest[bytes - 2] || code > 0x10ffff || surrogate) return {};
  return {code, bytes};
}

// Controls of both sets, marks without width, line separators, and what turns
// the direction of the text around it.
bool Misleads(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c ||
         (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string printable;
  while (!text.empty()) {
    const Character next = First(text);
    const bool plain = next.bytes > 0 && !Misleads(next.code);
    const std::string_view shown = plain ? text.substr(0, next.bytes) : "?";
    if (printable.size() + shown.size() > kLongestQuoted) {
      return printable + "...";
    }
    printable += shown;
    text.remove_prefix(next.bytes > 0 ? next.bytes : 1);
  }
  return printable;
}

std::string Quoted(std::string_view text) {
  return "'" + Printable(text) + "'";
}

}  // namespace heed::io
