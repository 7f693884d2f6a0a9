#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Breaks the source by one fault of tests/mutants/mutants.txt at a time, in a copy
# under build/mutants, and runs the tests that must find it:
#
#   bash tools/mutants.sh [NAME...]   all of them, or those; half a minute each
#   bash tools/mutants.sh --check     only whether each still applies
#
# Fails where one survives, does not compile or does not apply.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

list=tests/mutants/mutants.txt
work=build/mutants
limit=300  # seconds of one test
names=() files=() froms=() tos=() tests=()

complain() {
  echo "mutants: $*" >&2
  exit 1
}

# Reads the list; a mutant ends with its tests.
read_list() {
  local line name='' file='' from='' to=''
  while IFS= read -r line; do
    case $line in
      '' | '#'*) ;;
      'mutant '*) name=${line#mutant } file='' from='' to='' ;;
      'file '*) file=${line#file } ;;
      'from '*) from=${line#from } ;;
      'to') to='' ;;
      'to '*) to=${line#to } ;;
      'tests '*)
        [[ -n $name && -n $file && -n $from ]] ||
          complain "'$name' lacks a file or a text"
        names+=("$name") files+=("$file") froms+=("$from") tos+=("$to")
        tests+=("${line#tests }")
        ;;
      *) complain "not understood: $line" ;;
    esac
  done <"$list"
  [[ ${#names[@]} -gt 0 ]] || complain "$list has none"
}

check() {
  local i text rest failed=0
  for i in "${!names[@]}"; do
    [[ -f ${files[i]} ]] || complain "${names[i]}: no file ${files[i]}"
    text=$(<"${files[i]}")
    rest=${text#*"${froms[i]}"}
    if [[ $rest == "$text" ]]; then
      echo "mutants: ${names[i]}: not in ${files[i]}: ${froms[i]}" >&2
      failed=1
    elif [[ ${rest#*"${froms[i]}"} != "$rest" ]]; then
      echo "mutants: ${names[i]}: more than once in ${files[i]}: ${froms[i]}" >&2
      failed=1
    fi
  done
  if [[ $failed -eq 0 ]]; then echo "mutants: ${#names[@]}, each applies"; fi
  return $failed
}

targets_of() {
  local test
  for test in $1; do echo "${test%%:*}"; done
}

build() {
  # shellcheck disable=SC2046  # target names have no spaces
  cmake --build "$work/build" --target $(targets_of "$1") >"$work/log" 2>&1
}

# Prints the first of the tests that fails; nothing where all pass.
killer() {
  local test program filter
  for test in $1; do
    program=$(find "$work/build/tests" -type f -perm -u+x -name "${test%%:*}")
    filter='*'
    if [[ $test == *:* ]]; then filter=${test#*:}; fi
    if [[ $program == */differential_fuzz ]]; then
      timeout $limit "$program" --seed=1 --runs=1000 --no-shrink
    else
      timeout $limit "$program" --gtest_brief=1 --gtest_fail_fast \
        --gtest_filter="$filter"
    fi >"$work/log" 2>&1 || { echo "$test"; return; }
  done
}

read_list
if [[ ${1-} == --check ]]; then check; exit; fi
check >/dev/null
for name in "$@"; do
  [[ " ${names[*]} " == *" $name "* ]] || complain "no mutant '$name'"
done

# What is unchanged keeps its time, and so its objects.
mkdir -p "$work/source"
git ls-files -z --cached --others --exclude-standard |
  xargs -0 cp --update --preserve --parents --target-directory="$work/source"
for file in "${files[@]}"; do cp "$file" "$work/source/$file"; done
cmake -G Ninja -S "$work/source" -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
  -DHEED_BENCH=OFF -DHEED_TOOLS=OFF -DHEED_TBB=OFF -DHEED_INSTALL=OFF \
  >"$work/log" || { cat "$work/log"; exit 1; }

chosen=()
for i in "${!names[@]}"; do
  if [[ $# -eq 0 || " $* " == *" ${names[i]} "* ]]; then chosen+=("$i"); fi
done
all=$(for i in "${chosen[@]}"; do tr ' ' '\n' <<<"${tests[i]}"; done | sort -u)
build "$all" || { tail -n 30 "$work/log"; complain "the source does not build"; }
first=$(killer "$all")
[[ -z $first ]] || complain "$first fails as the source is"

survived=0
for i in "${chosen[@]}"; do
  file=$work/source/${files[i]}
  text=$(<"${files[i]}")
  printf '%s\n' "${text/"${froms[i]}"/"${tos[i]}"}" >"$file"
  if ! build "${tests[i]}"; then
    tail -n 30 "$work/log"
    complain "${names[i]} does not compile"
  fi
  killed_by=$(killer "${tests[i]}")
  if [[ -z $killed_by ]]; then survived=$((survived + 1)); fi
  printf '%-40s %s\n' "${names[i]}" "${killed_by:-SURVIVED}"
  cp "${files[i]}" "$file"
done
echo "mutants: $((${#chosen[@]} - survived)) killed, $survived survived"
[[ $survived -eq 0 ]]
