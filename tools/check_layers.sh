#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Checks that includes follow the layers, arrows running down only, and that
# each public header compiles alone as C++17. CXX names the compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C

failed=0
complain() {
  echo "layers: $*" >&2
  failed=1
}

# What a file may include: the first rule whose pattern (of a shell "case")
# matches its path decides. "std" is a standard header, as are <cstdint> and
# <string>; "system" is one of the C library or the compiler, such as <unistd.h>
# and <immintrin.h>; everything else is a regular expression on the path.
rule() {
  case $1 in
    # C99 alone.
    include/heed/heed_c.h) echo system 'heed/export\.h' ;;
    # Public headers see one another: no Highway, TBB or xsimd.
    include/heed/*) echo std 'heed/[a-z_0-9]+\.h' ;;
    # Portable loops meet the kernels at their tables.
    lib/core/*) echo std system 'heed/.*' 'lib/core/.*' \
      'lib/kernels/([a-z]+_table|kernels|targets|units|carver|coefficients)\.h' ;;
    # The C door stands on the public headers.
    lib/c/*) echo std 'heed/.*' 'lib/c/.*' ;;
    lib/kernels/* | lib/arch/*) echo std system 'heed/.*' 'lib/(kernels|arch)/.*' \
      'hwy/.*' ;;
    lib/sparse/* | lib/linear/* | lib/layers/*) echo std 'heed/.*' \
      'lib/(core|sparse|linear|layers)/.*' \
      'lib/kernels/([a-z]+_table|kernels|targets|carver)\.h' ;;
    # The only files that include oneTBB.
    lib/threading/*) echo std 'heed/.*' 'tbb/.*' 'oneapi/tbb/.*' ;;
    # Truth shares no code with what it judges: view types only.
    lib/oracle/*) echo std \
      'heed/(attention|executor|export|kv|linear|status|tensor|types)\.h' \
      'lib/oracle/.*' 'xsimd/.*' ;;
    # Formats: what they hold are views and their elements.
    lib/io/*) echo std system \
      'heed/(attention|executor|export|kv|linear|status|tensor|types)\.h' \
      'lib/io/.*' 'lib/oracle/element\.h' 'nlohmann/.*' ;;
    lib/eval/*) echo std system 'heed/.*' 'lib/(eval|io|oracle)/.*' ;;
    # A variant is plain C++ on the public headers.
    variants/*) echo std 'heed/.*' ;;
    tools/*) echo std system 'heed/.*' 'lib/(eval|io|oracle)/.*' 'tools/.*' 'CLI/.*' \
      'nlohmann/.*' 'fmt/.*' ;;
    bench/*) echo std system 'heed/.*' 'lib/(eval|io|oracle)/.*' 'bench/.*' \
      'benchmark/.*' 'nlohmann/.*' 'fmt/.*' 'hwy/.*' 'lib/kernels/target_list\.h' ;;
    # The Python door stands on the public headers, and on what eval records.
    python/*) echo std system 'heed/.*' 'lib/(eval|io)/.*' 'python/.*' \
      'nanobind/.*' 'xla/ffi/api/ffi\.h' 'Python\.h' ;;
    # Several files may make one example.
    examples/*) echo std system 'heed/.*' '[a-z_]+\.h' ;;
    *) return 1 ;;
  esac
}

# Turns the words of a rule into one expression on <path or "path.
expression() {
  local word separator=""
  for word in "$@"; do
    case $word in
      std) word='<[a-z_0-9]+' ;;
      system) word='<((sys|asm|linux)/)?[a-z_0-9]+\.h' ;;
      *) word="[<\"]$word" ;;
    esac
    printf '%s%s' "$separator" "$word"
    separator="|"
  done
}

while read -r file; do
  if ! words=$(rule "$file"); then
    complain "$file: no layer has this folder (tools/check_layers.sh)"
    continue
  fi
  read -ra words <<<"$words"
  allowed=$(expression "${words[@]}")
  while IFS= read -r include; do
    complain "$file includes ${include#[<\"]}"
  done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*([<"][^>"]+)[>"].*/\1/p' \
    "$file" | grep -vxE "$allowed" || true)
done < <(find include lib variants tools bench examples python -type f \
  \( -name '*.cc' -o -name '*.h' -o -name '*.c' \) 2>/dev/null | sort)

# The build carries the same arrows: what one target links another for.
while IFS=: read -r file what; do
  complain "$file: links $what"
done < <(grep -rnE 'hwy::|TBB::' --include=CMakeLists.txt \
  --include='*.cmake' CMakeLists.txt lib variants tools bench |
  grep -E 'hwy::|^(lib/(core|kernels|oracle|io|eval)|variants|tools)/.*TBB::' || true)

headers=(include/heed/*.h)
for header in "${headers[@]}"; do
  name=$(basename "$header" .h)
  guard=HEED_$(tr '[:lower:]' '[:upper:]' <<<"$name")_H_
  [ "$name" = heed_c ] && guard=HEED_HEED_C_H_
  grep -qx "#define $guard" "$header" || complain "$header: guard is not $guard"
  # C++17 is what consumers get to use; exceptions and RTTI may be off.
  printf '#include "heed/%s.h"\n' "$name" |
    "${CXX:-c++}" -std=c++17 -Wall -Wextra -Wshadow -pedantic -Werror \
      -fno-exceptions -fno-rtti -fsyntax-only -Iinclude -x c++ - ||
    complain "$header does not compile alone as C++17"
done

# Hosts in C, and whatever binds C, see this one.
printf '#include "heed/heed_c.h"\n' |
  "${CC:-cc}" -std=c99 -Wall -Wextra -pedantic -Wstrict-prototypes -Werror \
    -fsyntax-only -Iinclude -x c - || complain "heed_c.h does not compile as C99"

[ $failed -eq 0 ] && echo "layers: ${#headers[@]} public headers, all arrows run down"
exit $failed
