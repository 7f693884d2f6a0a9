#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# A new file is all that a new variant takes: makes one of each kind with
# tools/new_variant.sh in a copy of this build, builds, and looks for them in the
# tests, the benchmarks and the tool. Nothing of the library may be rebuilt.
#
# usage: new_variant_test.sh SOURCE_DIR BUILD_DIR CMAKE
set -euo pipefail

source_dir=$1
build_dir=$2
cmake=$3
kinds=(pattern estimator policy kernel)
name=skeleton_under_test

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

if [[ ! -f $build_dir/build.ninja ]]; then
  echo "skipped: only a Ninja build says what it would rebuild"
  exit 77
fi
ninja=$(sed -n 's/^CMAKE_MAKE_PROGRAM:[^=]*=//p' "$build_dir/CMakeCache.txt")

scratch=$(mktemp -d)
# Beside the build itself: what it depends on may be told from there.
copy=$(mktemp -d "$(dirname "$build_dir")/new_variant.XXXXXX")
trap 'rm -rf "$scratch" "$copy"' EXIT
mkdir "$scratch/variants"

# ---- The generator ----------------------------------------------------------

new_variant() { bash "$source_dir/tools/new_variant.sh" "$@"; }

names=("$name")
new_variant "$name" "$scratch/variants" >"$scratch/log" ||
  fail "new_variant.sh did not write a skeleton"
for kind in "${kinds[@]}"; do
  names+=("${name}_$kind")
  new_variant --kind "$kind" "${name}_$kind" "$scratch/variants" >"$scratch/log" ||
    fail "new_variant.sh did not write a skeleton of kind $kind"
done
for kind in "" other ../kernel; do
  if new_variant --kind "$kind" v "$scratch/variants" >"$scratch/log" 2>&1; then
    fail "new_variant.sh took the kind '$kind'"
  fi
  [[ -s $scratch/log ]] || fail "new_variant.sh refused '$kind' without a word"
done
for bad in "" Upper 9lives two-words a.b ../up "sp ace" while exact; do
  if new_variant "$bad" "$scratch/variants" >"$scratch/log" 2>&1; then
    fail "new_variant.sh took the name '$bad'"
  fi
  [[ -s $scratch/log ]] || fail "new_variant.sh refused '$bad' without a word"
done
# Whatever the name, the skeleton keeps to the project's format.
if command -v clang-format >/dev/null; then
  for kind in "${kinds[@]}"; do
    for named in v a_variant_with_a_name_as_long_as_anyone_would_care_to_type; do
      new_variant --kind "$kind" "$named" "$scratch/variants" >/dev/null
      clang-format --style=file:"$source_dir/.clang-format" --dry-run --Werror \
        "$scratch/variants/$named.cc" ||
        fail "the $kind skeleton is not formatted when it is called $named"
      rm "$scratch/variants/$named.cc"
    done
  done
fi
if new_variant "$name" "$scratch/variants" >/dev/null 2>&1; then
  fail "new_variant.sh overwrote a variant"
fi
if new_variant other "$scratch/nowhere" >/dev/null 2>&1; then
  fail "new_variant.sh wrote into a folder that does not exist"
fi
[[ $(ls "$scratch/variants" | wc -l) == "${#names[@]}" ]] ||
  fail "new_variant.sh left other files"

# ---- A copy of this build, with the folder named ----------------------------

# File times are kept, so what was built stays built.
cp -a "$build_dir/." "$copy"
sed -i "s|$build_dir|$copy|g" "$copy/CMakeCache.txt"

# Whatever was stale before counts for nothing.
"$cmake" "$copy" >"$scratch/log" 2>&1 &&
  "$ninja" -C "$copy" heed >>"$scratch/log" 2>&1 ||
  { cat "$scratch/log"; fail "the copy does not build"; }

configure() {
  "$cmake" -S "$source_dir" -B "$copy" \
    -DHEED_VARIANTS_DIR="$scratch/variants" >"$scratch/log" 2>&1
}
configure || { cat "$scratch/log"; fail "cmake refused the folder"; }

# The benchmarks and the tool may be switched off.
has_target() { grep -q "^build $1: phony" "$copy/build.ninja"; }
targets=(variant_conformance_test variant_result_test)
for target in heed_bench heed_tool; do
  if has_target $target; then targets+=($target); fi
done
"$ninja" -C "$copy" "${targets[@]}" >"$scratch/log" 2>&1 ||
  { cat "$scratch/log"; fail "the new variant does not build"; }
for named in "${names[@]}"; do
  grep -q "$named.cc.o" "$scratch/log" || fail "$named was not compiled"
done
if grep -E "lib/CMakeFiles/heed(_tbb)?\.dir/.*\.o" "$scratch/log"; then
  fail "the library was rebuilt for a new variant"
fi

# ---- Seen everywhere --------------------------------------------------------

# Installed trees of other tests stand in the build folder too.
binary() {
  find "$copy" -path '*/package' -prune -o \
    -type f -perm -u+x -name "$1" -print | head -n 1
}

for test in variant_conformance_test variant_result_test; do
  for named in "${names[@]}"; do
    "$(binary $test)" --gtest_list_tests | grep "/${named}_" >/dev/null ||
      fail "$test does not list $named"
  done
  "$(binary $test)" --gtest_brief=1 --gtest_filter="*/${name}_*" ||
    fail "a skeleton does not pass $test"
done
if has_target heed_bench; then
  "$(binary heed_bench)" --benchmark_list_tests | grep "$name" >/dev/null ||
    fail "heed_bench does not list the new variant"
fi
if has_target heed_tool; then
  "$(binary heed)" variants | grep "$name" >/dev/null ||
    fail "heed variants does not list the new variant"
fi

# ---- What CMake refuses -----------------------------------------------------

refuses() {
  if configure; then fail "cmake took $1"; fi
  tr -s ' \n' ' ' <"$scratch/log" | grep -F "$2" >/dev/null ||
    { cat "$scratch/log"; fail "cmake refused $1 without saying why"; }
}
cp "$scratch/variants/$name.cc" "$scratch/variants/exact.cc"
refuses "a file without its function" "must define the function"
sed -i "s/Variant $name()/Variant exact()/" "$scratch/variants/exact.cc"
refuses "two variants of one name" "already a variant of this name"
mv "$scratch/variants/exact.cc" "$scratch/variants/Bad-Name.cc"
refuses "a bad name" "a variant's file is named as the variant"
rm "$scratch/variants/Bad-Name.cc"

# Taking the files away takes the variants away.
rm "$scratch/variants/$name"*.cc
"$ninja" -C "$copy" variant_conformance_test >"$scratch/log" 2>&1 ||
  { cat "$scratch/log"; fail "the build does not survive the file's removal"; }
if "$(binary variant_conformance_test)" --gtest_list_tests | grep "$name"; then
  fail "a removed variant is still listed"
fi
echo "seen by: ${targets[*]}"
