// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Columns of text for a terminal.
#ifndef HEED_TOOLS_HEED_TEXT_TABLE_H_
#define HEED_TOOLS_HEED_TEXT_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace heed::tool {

using Line = std::vector<std::string>;

// Returns the lines (the first is the heading; some may be shorter) in columns:
// the first to the left, the others to the right. No line is longer than
// `width` as long as all columns but the first fit into it: names that don't
// fit beside the others stand above their line, broken at colons where they
// must.
std::string AlignColumns(const std::vector<Line>& lines, size_t width);

// Breaks text into lines of at most `width` at blanks, each with an end. Longer
// words are cut.
std::string WrapText(const std::string& text, size_t width);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_TEXT_TABLE_H_
