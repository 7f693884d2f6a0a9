// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Columns and lines of text, in widths that fit and that don't.
#include "tools/heed/text_table.h"

#include <gtest/gtest.h>

#include <string>

namespace heed::test {
namespace {

using tool::AlignColumns;
using tool::WrapText;

TEST(TextTable, AlignsColumns) {
  EXPECT_EQ(AlignColumns({{"name", "x", "y"}, {"a", "1.5", ""}}, 80),
            "name    x  y\n"
            "a     1.5\n");
}

TEST(TextTable, PutsLongNamesAboveTheirLine) {
  EXPECT_EQ(
      AlignColumns({{"name", "x"}, {"abc:defgh:ij", "1.5"}, {"b", "2"}}, 12),
      "name       x\n"
      "abc:defgh:ij\n"
      "         1.5\n"
      "b          2\n");
  EXPECT_EQ(AlignColumns({{"n", "x"}, {"abc:defgh:ij:kl", "1"}}, 12),
            "n          x\n"
            "abc:defgh:\n"
            "    ij:kl\n"
            "           1\n");
}

TEST(TextTable, WrapsAtBlanks) {
  EXPECT_EQ(WrapText("", 10), "");
  EXPECT_EQ(WrapText("one two three", 7), "one two\nthree\n");
  EXPECT_EQ(WrapText("one two three", 80), "one two three\n");
  EXPECT_EQ(WrapText("abcdefghij k", 4), "abcd\nefgh\nij k\n");
}

}  // namespace
}  // namespace heed::test
