# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# What `cmake --install` writes: headers, libraries, the tool with its sample,
# a CMake package and pkg-config files. All of it may be moved as a whole.

include(CMakePackageConfigHelpers)

# heed::tbb is an export set of its own, so that a consumer without oneTBB can
# still find the rest.
set(HEED_LIBRARIES heed)
if(TARGET heed_variants)
  list(APPEND HEED_LIBRARIES heed_variants)
  set_target_properties(heed_variants PROPERTIES EXPORT_NAME variants
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
endif()
set(HEED_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/heed)
install(TARGETS ${HEED_LIBRARIES} EXPORT heedTargets)
install(EXPORT heedTargets NAMESPACE heed:: DESTINATION ${HEED_PACKAGE_DIR})
if(HEED_TBB)
  list(APPEND HEED_LIBRARIES heed_tbb)
  install(TARGETS heed_tbb EXPORT heedTbbTargets)
  install(EXPORT heedTbbTargets NAMESPACE heed::
    DESTINATION ${HEED_PACKAGE_DIR})
else()
  set(HEED_NO_TBB_HEADER PATTERN tbb.h EXCLUDE)
endif()
install(DIRECTORY include/heed DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN *.h ${HEED_NO_TBB_HEADER})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Shared libraries and the tool find one another where they were installed.
file(RELATIVE_PATH HEED_BIN_TO_LIB
  ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
if(BUILD_SHARED_LIBS)
  set_target_properties(${HEED_LIBRARIES} PROPERTIES INSTALL_RPATH "$ORIGIN")
endif()
if(TARGET heed_tool)
  install(TARGETS heed_tool)
  install(FILES data/README.md data/smollm2_135m_moby_dick.safetensors
    DESTINATION ${CMAKE_INSTALL_DATADIR}/heed)
  if(BUILD_SHARED_LIBS)
    set_target_properties(heed_tool PROPERTIES
      INSTALL_RPATH "$ORIGIN/${HEED_BIN_TO_LIB}")
  endif()
endif()

configure_package_config_file(cmake/heedConfig.cmake.in heedConfig.cmake
  INSTALL_DESTINATION ${HEED_PACKAGE_DIR}
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(heedConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/heedConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/heedConfigVersion.cmake
  DESTINATION ${HEED_PACKAGE_DIR})

# Whoever links the archive by a compiler for C needs the runtime of C++ too,
# without asking for --static; one for C++ has it anyway.
set(PC_RUNTIME "")
if(NOT BUILD_SHARED_LIBS)
  set(PC_RUNTIME " -lstdc++ -lm")
endif()

# Writes the pkg-config file `name` of library `target`.
function(heed_pkg_config name target description requires requires_private)
  set(PC_NAME ${name})
  set(PC_DESCRIPTION ${description})
  set(PC_REQUIRES ${requires})
  set(PC_REQUIRES_PRIVATE ${requires_private})
  set(PC_LIBRARY ${target})
  if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(PC_PREFIX ${CMAKE_INSTALL_PREFIX})
  else()
    file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" PC_PREFIX "\${pcfiledir}/${up}")
  endif()
  foreach(dir LIBDIR INCLUDEDIR)
    cmake_path(APPEND PC_${dir} "\${prefix}" ${CMAKE_INSTALL_${dir}})
  endforeach()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/heed.pc.in ${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

heed_pkg_config(heed heed "${PROJECT_DESCRIPTION}" "" "")
if(TARGET heed_variants)
  heed_pkg_config(heed-variants heed_variants
    "Attention variants, sparse and linear, on heed" "heed" "")
endif()
if(HEED_TBB)
  # Whoever links the archive links oneTBB too, without asking for --static.
  if(BUILD_SHARED_LIBS)
    heed_pkg_config(heed-tbb heed_tbb "The oneTBB executor of heed" "heed"
      "tbb")
  else()
    heed_pkg_config(heed-tbb heed_tbb "The oneTBB executor of heed" "heed, tbb"
      "")
  endif()
endif()
