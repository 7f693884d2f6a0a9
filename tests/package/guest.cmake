# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Checks, in a host that has just added heed to its build, that heed left no
# trace there but its own targets.

function(expect_empty what)
  if(ARGN)
    message(FATAL_ERROR "heed left ${what} in its host: ${ARGN}")
  endif()
endfunction()

foreach(property IN ITEMS COMPILE_OPTIONS COMPILE_DEFINITIONS LINK_OPTIONS
    INCLUDE_DIRECTORIES LINK_LIBRARIES)
  get_directory_property(value ${property})
  expect_empty(${property} ${value})
endforeach()
foreach(variable IN ITEMS CMAKE_CXX_STANDARD BUILD_SHARED_LIBS
    CMAKE_POSITION_INDEPENDENT_CODE CMAKE_CXX_VISIBILITY_PRESET
    CMAKE_RUNTIME_OUTPUT_DIRECTORY CMAKE_MODULE_PATH)
  expect_empty(${variable} ${${variable}})
endforeach()

# Everything that the host would build or test or install is the library.
function(targets_below dir result)
  get_property(all DIRECTORY ${dir} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(dirs DIRECTORY ${dir} PROPERTY SUBDIRECTORIES)
  foreach(child IN LISTS dirs)
    targets_below(${child} below)
    list(APPEND all ${below})
  endforeach()
  set(${result} ${all} PARENT_SCOPE)
endfunction()
targets_below(${CMAKE_CURRENT_SOURCE_DIR} targets)
list(REMOVE_ITEM targets heed)
expect_empty("targets" ${targets})
