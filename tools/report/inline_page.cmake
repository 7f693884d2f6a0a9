# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Puts style, script and Chart.js into page.html and writes it as a C++ string.
# Run by the build: cmake -DPARTS=folder -DSCRIPTS=a.js,b.js -DCHART_JS=file
# -DOUTPUT=file -P.

file(READ ${PARTS}/page.html page)
file(READ ${PARTS}/shared/page.css style)
string(REPLACE "," ";" SCRIPTS "${SCRIPTS}")
foreach(part IN LISTS SCRIPTS)
  file(READ ${PARTS}/${part} text)
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
