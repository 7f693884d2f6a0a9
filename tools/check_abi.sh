#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Checks that the C door still is what hosts were compiled against:
#   bash tools/check_abi.sh [libheed.so]   against abi/heed_c.abi
#   bash tools/check_abi.sh --record       writes that file anew
# Functions may be added, and fields at the end of structs; anything else fails.
# Given the library, it must export just the recorded functions. What is compared
# is the header, whose functions get empty bodies: what stands behind a function
# is no matter of hosts. CC names the compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C
recorded=abi/heed_c.abi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -E 's/^HEED_API //; T; :next; /;$/!{ N; b next }; s/;$/ { __builtin_trap(); }/' \
  include/heed/heed_c.h >"$work/heed_c.c"
"${CC:-cc}" -std=c99 -gdwarf-4 -O0 -fPIC -shared -Iinclude \
  "-ffile-prefix-map=$work/=" "$work/heed_c.c" -o "$work/heed_c.so"
abidw --no-corpus-path --no-comp-dir-path --no-architecture --no-elf-needed \
  --no-show-locs --no-write-default-sizes --type-id-style hash \
  --out-file "$work/heed_c.abi" "$work/heed_c.so"
# Prints the functions that an ABI file has.
functions() { grep -oE "elf-symbol name='heed_[a-z_0-9]+'" "$1" | cut -d\' -f2 | sort; }

# Prints an ABI file as lines, one a function, a type (whose id goes by what it
# is), and a field with its place and type. A reserved field has no name: it gets
# one when it is used. The size of a struct is only a line where it may not grow.
surface() {
  awk -F\' '
    function value(key,  i) {
      for (i = 1; i < NF; i += 2) if ($i ~ " " key "=$") return $(i + 1)
    }
    /<class-decl / { struct = value("name") }
    /<class-decl name=.heed_(tensor|key_interval|shared_prefix). / { print struct, value("size-in-bits") }
    /<data-member / { offset = value("layout-offset-in-bits") }
    /<var-decl / && struct != "" {
      name = value("name")
      print struct, offset, name == "reserved" ? "" : name, value("type-id")
      print struct, offset, "", value("type-id")
    }
    /<\/class-decl>/ { struct = "" }
    /<typedef-decl name=.heed_|<(pointer|qualified)-type-def / {
      print "type", value("id"), value("name"), value("type-id")
    }
    /<function-type / { line = "type " value("id") }
    /<\/function-type>/ { print line }
    /<function-decl / { line = value("name") }
    /<(parameter|return) / { line = line " " value("type-id") }
    /<\/function-decl>/ { print line }' "$1" | sort -u
}

if [ "${1:-}" = --record ]; then
  cp "$work/heed_c.abi" "$recorded"
  echo "abi: recorded $(functions "$recorded" | wc -l) functions"
  exit
fi

failed=0
surface "$recorded" >"$work/before"
surface "$work/heed_c.abi" >"$work/after"
comm -23 "$work/before" "$work/after" >"$work/missing"
# abidiff 2.2 cannot be told to let pass what is only added to a struct, nor to
# see a field that has another name.
abidiff --no-added-syms --no-show-locs "$recorded" "$work/heed_c.abi" \
  >"$work/report" || true
if [ -s "$work/missing" ]; then
  cat "$work/report" >&2
  echo "abi: the C door has changed for its hosts: it no longer has" >&2
  sed 's/^/    /' "$work/missing" >&2
  echo "abi: if that is meant, it takes a new major version and" \
    "'bash tools/check_abi.sh --record'" >&2
  failed=1
elif ! cmp -s "$work/before" "$work/after"; then
  echo "abi: added, to be recorded by 'bash tools/check_abi.sh --record':"
  comm -13 "$work/before" "$work/after" | sed -E '/^type |  /d; s/^/    /'
fi
if [ $# -gt 0 ]; then
  "${NM:-nm}" -D --defined-only "$1" | awk '$3 ~ /^heed_/ {print $3}' | sort |
    diff <(functions "$work/heed_c.abi") - >"$work/exports" || {
    cat "$work/exports" >&2
    echo "abi: $1 does not export just the functions of heed_c.h" >&2
    failed=1
  }
fi
[ $failed -eq 0 ] && echo "abi: $(functions "$recorded" | wc -l) functions as recorded"
exit $failed
