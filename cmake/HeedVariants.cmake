# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# The registry of variants is the list of files: variants/sparse/foo.cc
# defines heed::variants::foo().

# Sets <result> to the sources in <folder>, which may be a pattern, after checking
# their names. The folder is looked at again on every build.
function(heed_find_variants folder result)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cc)
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WLE)
    if(NOT name MATCHES "^[a-z][a-z0-9_]*$")
      message(FATAL_ERROR
        "${source}: a variant's file is named as the variant: lower-case "
        "letters, digits and underscores, a letter first.")
    endif()
    # The linker would say so too, but with less help.
    file(READ ${source} text)
    if(NOT text MATCHES "Variant[ \t\r\n]+(heed::variants::)?${name}[ \t]*\\(")
      message(FATAL_ERROR
        "${source} must define the function that its name promises: "
        "heed::Variant heed::variants::${name}().")
    endif()
  endforeach()
  set(${result} ${sources} PARENT_SCOPE)
endfunction()

# Writes the C++ file that lists the variants of these sources, sorted by name.
# Touches it only where the list changed.
function(heed_write_variant_list file)
  set(names)
  foreach(source IN LISTS ARGN)
    get_filename_component(name ${source} NAME_WLE)
    if(name IN_LIST names)
      message(FATAL_ERROR
        "${source}: there is already a variant of this name. Rename the file "
        "and its function.")
    endif()
    list(APPEND names ${name})
  endforeach()
  list(SORT names)
  list(LENGTH names HEED_VARIANT_COUNT)
  set(HEED_VARIANT_DECLARATIONS "")
  set(HEED_VARIANT_CASES "")
  set(index 0)
  foreach(name IN LISTS names)
    string(APPEND HEED_VARIANT_DECLARATIONS "Variant ${name}();\n")
    string(APPEND HEED_VARIANT_CASES
      "    case ${index}:\n"
      "      return {\"${name}\", variants::${name}()};\n")
    math(EXPR index "${index} + 1")
  endforeach()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/variant_list.cc.in ${file} @ONLY)
endfunction()
