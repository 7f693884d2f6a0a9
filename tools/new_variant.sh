#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Writes a commented skeleton of a new variant, of tools/variant_skeletons. The
# file is all that there is to do: the next build finds it, tests it, benchmarks
# it and offers it in the tool.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tools/new_variant.sh [--kind KIND] NAME [DIR]

Writes DIR/NAME.cc (DIR: variants/sparse of this repository), an attention variant
that works: fill in the idea. NAME is lower-case letters, digits and
underscores, a letter first. For a DIR of your own, configure with
-DHEED_VARIANTS_DIR=DIR. KIND is
  pattern    which keys a query attends to, by position (the default)
  estimator  a score for blocks of keys, of which the best are kept
  policy     which rows a cache that forgets keeps, step by step
  kernel     its own arithmetic, row by row
EOF
}

fail() {
  echo "new_variant.sh: $1" >&2
  exit 2
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit 0
fi
kind=pattern
if [[ ${1:-} == --kind ]]; then
  kind=${2:-}
  shift $(($# < 2 ? $# : 2))
fi
if [[ $# -lt 1 || $# -gt 2 ]]; then
  usage >&2
  exit 2
fi
name=$1
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
variants=$(cd "$tools/../variants" && pwd)
skeletons=$tools/variant_skeletons
dir=${2:-$variants/sparse}

# C++ words that would pass for a name.
reserved=" alignas alignof and asm auto bitand bitor bool break case catch char
 class compl concept const consteval constexpr constinit continue decltype
 default delete do double else enum explicit export extern false float for
 friend goto if inline int long mutable namespace new noexcept not nullptr
 operator or private protected public register requires return short signed
 sizeof static struct switch template this throw true try typedef typeid
 typename union unsigned using virtual void volatile while xor "
[[ $name =~ ^[a-z][a-z0-9_]*$ ]] ||
  fail "'$name' is no variant name: lower-case letters, digits and underscores, a letter first"
[[ " ${reserved//$'\n'/ } " != *" $name "* ]] ||
  fail "'$name' is a word of C++"
[[ $kind =~ ^[a-z]+$ && -f $skeletons/$kind.cc.in ]] ||
  fail "there is no kind '$kind': pattern, estimator, policy or kernel"
[[ -d $dir ]] || fail "'$dir' is not a folder"
for folder in "$variants"/*/ "$dir"; do
  folder=${folder%/}
  [[ ! -e $folder/$name.cc ]] || fail "there is already a variant '$name': $folder/$name.cc"
done

sed "s/@NAME@/$name/g" "$skeletons/$kind.cc.in" >"$dir/$name.cc"

echo "wrote $dir/$name.cc; build, and it is tested, benchmarked and listed"
