// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The report's page, made by the build from tools/report and Chart.js.
#ifndef HEED_TOOLS_HEED_REPORT_PAGE_H_
#define HEED_TOOLS_HEED_REPORT_PAGE_H_

#include <string_view>

namespace heed::tool {

// Holds the text HEED_REPORT_DATA once, where the JSON goes.
extern const std::string_view kReportPage;

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_REPORT_PAGE_H_
