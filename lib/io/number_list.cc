// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Splits at commas, then at dashes.
#include "lib/io/number_list.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::io {
namespace {

bool ParseNumber(std::string_view text, int64_t* number) {
  if (text.empty() || text[0] == '-') return false;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *number);
  return error == std::errc() && stop == end;
}

bool ParseRange(std::string_view text, NumberRange* range) {
  const size_t dash = text.find('-');
  if (!ParseNumber(text.substr(0, dash), &range->first)) return false;
  range->last = range->first;
  if (dash == std::string_view::npos) return true;
  return ParseNumber(text.substr(dash + 1), &range->last) &&
         range->first <= range->last;
}

}  // namespace

std::vector<NumberRange> ParseNumberList(std::string_view text,
                                         std::string_view option) {
  std::vector<NumberRange> ranges;
  for (std::string_view left = text;;) {
    const size_t comma = left.find(',');
    NumberRange range;
    if (!ParseRange(left.substr(0, comma), &range)) {
      throw InputError(std::string(option) +
                       " needs numbers and ranges such as 2,10-12, not " +
                       Quoted(text));
    }
    ranges.push_back(range);
    if (comma == std::string_view::npos) return ranges;
    left.remove_prefix(comma + 1);
  }
}

std::string FormatRange(const NumberRange& range) {
  std::string text = std::to_string(range.first);
  if (range.last != range.first) text += "-" + std::to_string(range.last);
  return text;
}

bool AnyHolds(const std::vector<NumberRange>& ranges, int64_t number) {
  return std::any_of(
      ranges.begin(), ranges.end(),
      [number](const NumberRange& range) { return range.Holds(number); });
}

}  // namespace heed::io
