# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# CTest entries for what no test program can see from inside: which file
# includes what, where a target is named, what CI makes of its jobs, whether the
# mutants still apply, and what the archive asks of its host and of the CPU.

if(NOT CMAKE_CROSSCOMPILING AND NOT HEED_SANITIZE)
  add_test(NAME layers
    COMMAND bash ${PROJECT_SOURCE_DIR}/tools/check_layers.sh)
  set_tests_properties(layers PROPERTIES LABELS checks
    ENVIRONMENT "CC=${CMAKE_C_COMPILER};CXX=${CMAKE_CXX_COMPILER}")
  add_test(NAME target_list
    COMMAND bash ${PROJECT_SOURCE_DIR}/tests/target_list_test.sh
            ${PROJECT_SOURCE_DIR})
  set_tests_properties(target_list PROPERTIES LABELS checks)
  add_test(NAME ci_run
    COMMAND bash ${PROJECT_SOURCE_DIR}/tests/ci_run_test.sh
            ${PROJECT_SOURCE_DIR})
  set_tests_properties(ci_run PROPERTIES LABELS checks)
  add_test(NAME mutants_apply
    COMMAND bash ${PROJECT_SOURCE_DIR}/tools/mutants.sh --check)
  set_tests_properties(mutants_apply PROPERTIES LABELS checks)
endif()
if(NOT HEED_SANITIZE)
  add_test(NAME symbols
    COMMAND bash ${PROJECT_SOURCE_DIR}/tools/check_symbols.sh
            $<TARGET_FILE:heed>)
  set_tests_properties(symbols PROPERTIES LABELS checks
    ENVIRONMENT "NM=${CMAKE_NM};OBJDUMP=${CMAKE_OBJDUMP}")
endif()
