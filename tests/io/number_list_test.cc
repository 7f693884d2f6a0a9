// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Lists of numbers and ranges, right ones and slips of the keyboard.
#include "lib/io/number_list.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "lib/io/input_error.h"

namespace heed::test {
namespace {

using io::ParseNumberList;

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

Ranges Read(const std::string& text) {
  Ranges ranges;
  for (const io::NumberRange& range : ParseNumberList(text, "--layers")) {
    ranges.emplace_back(range.first, range.last);
  }
  return ranges;
}

TEST(NumberList, ReadsNumbersAndRanges) {
  EXPECT_EQ(Read("2"), (Ranges{{2, 2}}));
  EXPECT_EQ(Read("2,10"), (Ranges{{2, 2}, {10, 10}}));
  EXPECT_EQ(Read("0-3,7,5-5"), (Ranges{{0, 3}, {7, 7}, {5, 5}}));
  EXPECT_EQ(io::FormatRange({5, 5}), "5");
  EXPECT_EQ(io::FormatRange({5, 9}), "5-9");
  const auto ranges = ParseNumberList("0-3,7", "");
  for (const int64_t number : {0, 1, 3, 7}) {
    EXPECT_TRUE(AnyHolds(ranges, number));
  }
  for (const int64_t number : {-1, 4, 6, 8}) {
    EXPECT_FALSE(AnyHolds(ranges, number));
  }
}

TEST(NumberList, RefusesTheRest) {
  for (const char* bad :
       {"", ",", "2,,10", "2,", ",2", "-1", "1-", "1--2", "3-2", "1-2-3", "a",
        "1 ", " 1", "+1", "1.5", "0x1", "99999999999999999999", "1,2-a"}) {
    try {
      ParseNumberList(bad, "--layers");
      ADD_FAILURE() << "read '" << bad << "'";
    } catch (const io::InputError& error) {
      EXPECT_EQ(std::string(error.what()).substr(0, 14), "--layers needs");
    }
  }
}

}  // namespace
}  // namespace heed::test
