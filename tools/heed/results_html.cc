// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Puts the JSON into the page that the build made of tools/report.
#include <string_view>

#include "tools/heed/report_page.h"
#include "tools/heed/results.h"

namespace heed::tool {
namespace {

constexpr std::string_view kPlace = "HEED_REPORT_DATA";

}  // namespace

std::string ResultsHtml(const std::string& json) {
  const std::string_view page = kReportPage;
  const size_t place = page.find(kPlace);
  std::string text(page.substr(0, place));
  // Inside a script element only '<' can end the element or open a comment, and
  // in JSON it stands in strings alone, where it may be escaped.
  for (const char c : json) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  text += page.substr(place + kPlace.size());
  return text;
}

}  // namespace heed::tool
