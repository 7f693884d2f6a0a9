# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# How heed's own code is compiled. Attached to targets, never to a host project.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND
   PROJECT_IS_TOP_LEVEL)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(HEED_SANITIZE "" CACHE STRING "Sanitizers, such as address,undefined")
option(HEED_SANITIZE_KERNELS
  "Undefined-behaviour sanitizer in kernel files too: a build of minutes" OFF)

# Applies the project's flags to one of its own targets.
function(heed_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_17 PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    # Objects of a shared library are those of a static one: a cache of compilations
    # then has them.
    DEFINE_SYMBOL ""
    POSITION_INDEPENDENT_CODE ON)
  # A product and a sum may only become an FMA where the source says so: the
  # output bits depend on it.
  target_compile_options(${target} PRIVATE
    -ffp-contract=off -Wall -Wextra -Wshadow
    "-ffile-prefix-map=${PROJECT_SOURCE_DIR}=heed"
    # GCC 12 sees overlaps in std::string operations that do not exist.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  if(HEED_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${HEED_SANITIZE} -fno-sanitize-recover=all
      "$<$<CXX_COMPILER_ID:Clang>:-fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/cmake/sanitize_ignore.txt>"
      -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${HEED_SANITIZE})
  endif()
endfunction()
