# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Puts style, script and Chart.js into page.html and writes it as a C++ string.
# Run by the build: cmake -DPARTS=folder -DCHART_JS=file -DOUTPUT=file -P.

file(READ ${PARTS}/page.html page)
file(READ ${PARTS}/page.css style)
foreach(part IN ITEMS numbers labels chart pictures lengths mass
    row_errors phases coverage table heads other_runs svg_context exports page)
  file(READ ${PARTS}/${part}.js text)
  string(APPEND script "${text}\n")
endforeach()
file(READ ${CHART_JS} chart)
# A debugger would look for the map beside the report.
string(REGEX REPLACE "//# sourceMappingURL=[^\n]*" "" chart "${chart}")
foreach(part IN ITEMS chart script)
  string(FIND "${${part}}" "</script" found)
  if(NOT found EQUAL -1)
    message(FATAL_ERROR "the ${part} cannot stand in a script element")
  endif()
endforeach()
string(REPLACE "HEED_REPORT_STYLE" "${style}" page "${page}")
string(REPLACE "HEED_REPORT_CHART" "${chart}" page "${page}")
string(REPLACE "HEED_REPORT_SCRIPT" "${script}" page "${page}")
string(FIND "${page}" ")HEED_PAGE" found)
if(NOT found EQUAL -1)
  message(FATAL_ERROR "the page holds the delimiter of its own string")
endif()
file(WRITE ${OUTPUT} "// Made by the build from tools/report.
#include \"tools/heed/report_page.h\"

namespace heed::tool {

const std::string_view kReportPage = R\"HEED_PAGE(${page})HEED_PAGE\";

}  // namespace heed::tool
")
