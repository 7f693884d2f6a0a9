// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Names and values as they are shown.
#include "lib/io/quoted.h"

#include <gtest/gtest.h>

#include <string>

namespace heed::test {
namespace {

using io::Printable;

TEST(Quoted, LeavesPlainTextAlone) {
  EXPECT_EQ(io::Quoted(""), "''");
  EXPECT_EQ(io::Quoted("layer.2"), "'layer.2'");
  // Of two, three and four bytes.
  EXPECT_EQ(Printable("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8b"),
            "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8b");
}

TEST(Quoted, ReplacesControlCharacters) {
  EXPECT_EQ(Printable(std::string("a\0b\x1b[1m\n\t\x7f", 10)), "a?b?[1m???");
  EXPECT_EQ(Printable("\xc2\x9b"), "?");            // a control of one byte
  EXPECT_EQ(Printable("\xe2\x80\xaetxt"), "?txt");  // right to left
  EXPECT_EQ(Printable("\xe2\x80\xa8"), "?");        // a line separator
}

TEST(Quoted, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(Printable("\xff\x80"), "??");
  EXPECT_EQ(Printable("\xc0\x80"), "??");            // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "???");       // a surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "????");  // beyond Unicode
  EXPECT_EQ(Printable("\xe2\x82"), "??");            // cut short
  EXPECT_EQ(Printable("\xc3("), "?(");
}

TEST(Quoted, CutsBetweenCharacters) {
  EXPECT_EQ(Printable(std::string(64, 'x')), std::string(64, 'x'));
  EXPECT_EQ(Printable(std::string(65, 'x')), std::string(64, 'x') + "...");
  EXPECT_EQ(Printable(std::string(63, 'x') + "\xc3\xa9"),
            std::string(63, 'x') + "...");
}

}  // namespace
}  // namespace heed::test
