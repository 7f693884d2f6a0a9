# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# The archives and the tool of HEED_BUILD_DIR, under the names of their targets.

cmake_path(ABSOLUTE_PATH HEED_BUILD_DIR BASE_DIRECTORY
  ${CMAKE_CURRENT_SOURCE_DIR}/..)
function(heed_prebuilt target path)
  set(file ${HEED_BUILD_DIR}/${path})
  if(NOT EXISTS ${file})
    message(FATAL_ERROR "HEED_BUILD_DIR: ${file} is not built.")
  endif()
  add_library(${target} STATIC IMPORTED)
  set_target_properties(${target} PROPERTIES
    IMPORTED_LOCATION ${file}
    INTERFACE_INCLUDE_DIRECTORIES
      "${CMAKE_CURRENT_SOURCE_DIR}/..;${CMAKE_CURRENT_SOURCE_DIR}/../include"
    INTERFACE_LINK_LIBRARIES "${ARGN}")
endfunction()

find_package(Threads REQUIRED)
heed_prebuilt(heed lib/libheed.a)
heed_prebuilt(heed_variants variants/libheed_variants.a heed)
heed_prebuilt(heed_io lib/io/libheed_io.a)
heed_prebuilt(heed_oracle lib/oracle/libheed_oracle.a)
heed_prebuilt(heed_eval lib/eval/libheed_eval.a
  heed_variants heed heed_oracle heed_io Threads::Threads)
set(HEED_TOOL_FILE ${HEED_BUILD_DIR}/bin/heed)
add_custom_target(heed_tool)  # is there
load_cache(${HEED_BUILD_DIR} READ_WITH_PREFIX HEED_PREBUILT_ HEED_CHART_JS)
set(HEED_CHART_JS ${HEED_PREBUILT_HEED_CHART_JS})
