// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Widths first, then lines.
#include "tools/heed/text_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace heed::tool {
namespace {

// Where text may end so that at most `width` of it stand on a line: behind the
// last `sign` that fits, or anywhere where there is none.
size_t BreakAt(const std::string& text, size_t width, char sign) {
  if (text.size() <= width) return text.size();
  const size_t at = text.rfind(sign, width - 1);
  return at == std::string::npos || at == 0 ? width : at + 1;
}

// A name on lines of its own.
std::string NameAbove(std::string name, size_t width) {
  std::string text;
  for (const char* indent = ""; !name.empty(); indent = "    ") {
    const size_t end = BreakAt(name, width - std::string(indent).size(), ':');
    text += indent + name.substr(0, end) + "\n";
    name.erase(0, end);
  }
  return text;
}

}  // namespace

std::string AlignColumns(const std::vector<Line>& lines, size_t width) {
  std::vector<size_t> widths;
  for (const Line& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t c = 0; c < line.size(); ++c) {
      widths[c] = std::max(widths[c], line[c].size());
    }
  }
  size_t others = 0;
  for (size_t c = 1; c < widths.size(); ++c) others += 2 + widths[c];
  const size_t room = width > others ? width - others : 0;
  widths[0] = std::min(widths[0], room);
  std::string text;
  for (const Line& line : lines) {
    std::string name = line[0];
    if (name.size() > widths[0]) {
      text += NameAbove(name, width);
      name.clear();
    }
    std::string row = fmt::format("{:<{}}", name, widths[0]);
    for (size_t c = 1; c < line.size(); ++c) {
      row += fmt::format("  {:>{}}", line[c], widths[c]);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

std::string WrapText(const std::string& text, size_t width) {
  std::string lines;
  for (std::string left = text; !left.empty();) {
    size_t end = left.size() <= width ? left.size() : left.rfind(' ', width);
    if (end == std::string::npos || end == 0) end = width;
    lines += left.substr(0, end) + "\n";
    left.erase(0, std::min(left.size(), end));
    left.erase(0, left.find_first_not_of(' '));
  }
  return lines;
}

}  // namespace heed::tool
