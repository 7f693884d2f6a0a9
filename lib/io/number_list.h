// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Lists of whole numbers as users write them: "2,10-12".
#ifndef HEED_LIB_IO_NUMBER_LIST_H_
#define HEED_LIB_IO_NUMBER_LIST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heed::io {

// Numbers [first, last].
struct NumberRange {
  int64_t first = 0;
  int64_t last = 0;

  bool Holds(int64_t number) const { return first <= number && number <= last; }
};

// Reads numbers from 0 and ranges of them, "10-12", between commas. Throws
// InputError, which names `option`, for anything else: empty parts, signs,
// ranges that run backwards.
std::vector<NumberRange> ParseNumberList(std::string_view text,
                                         std::string_view option);

// Returns "2" or "10-12".
std::string FormatRange(const NumberRange& range);

// Returns whether some range holds the number.
bool AnyHolds(const std::vector<NumberRange>& ranges, int64_t number);

}  // namespace heed::io

#endif  // HEED_LIB_IO_NUMBER_LIST_H_
