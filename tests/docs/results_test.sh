#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# docs/results.md is what its script makes of the kept comparisons, and the script
# makes a page of the same form of new ones: no time is compared.
#
# usage: results_test.sh SOURCE PYTHON [HEED]
set -euo pipefail

source=$1
python=$2
heed=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

"$python" "$source/tools/results.py" check
for picture in $(sed -n 's/^!\[.*](\(.*\))$/\1/p' "$source/docs/results.md"); do
  "$python" -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' \
    "$source/docs/$picture" || fail "$picture is no SVG"
  grep -q 'prefers-color-scheme: dark' "$source/docs/$picture" ||
    fail "$picture has one theme"
done
for folder in "$source"/bench/results/*/; do
  size=$(cat "$folder"*.json | wc -c)
  [ "$size" -lt 700000 ] || fail "the JSON in $folder has $size bytes"
done
grep -rlE '"/[a-z]|/home/|/tmp/|file:' "$source/bench/results" && fail "a place on disk"

# What a line is about, without its numbers.
form() {
  grep -E '^(#|!|\| (row|variant) |\|-|\| ---)' "$1" |
    sed 's/x exact at [0-9,]*/x exact at the longest/'
}
if [ -n "$heed" ]; then
  folder=$work/new_runs
  mkdir -p "$folder"
  "$heed" compare -q --repeats 1 --tokens 128 --layers 10,19 \
    --json "$folder/sample.json" oracle_topk:block=16:total_blocks=2 linear_elu >/dev/null
  "$heed" compare -q --repeats 2 --problem b1_h1_d8_q64_f32_causal \
    --tokens 64,128,4096 --json "$folder/lengths.json" linear_elu >/dev/null
  for name in sample lengths; do
    "$python" "$source/tools/results.py" trim "$folder/$name.json"
  done
  for kept in "$source"/bench/results/*/; do
    other=$work/results/$(basename "$kept")
    mkdir -p "$other"
    for file in "$kept"*; do
      case $(basename "$file") in
        lengths.json | even*.json | decode.json) cp "$folder/lengths.json" "$other/$(basename "$file")" ;;
        *.json) cp "$folder/sample.json" "$other/$(basename "$file")" ;;
        *) cp "$file" "$other" ;;
      esac
    done
  done
  "$python" "$source/tools/results.py" write "$work/results" "$work/page.md"
  grep -q '^| `oracle_topk:' "$work/page.md" || fail "the new page has no rows"
  form "$source/docs/results.md" | sed 's/](.*/]/' >"$work/kept"
  form "$work/page.md" | sed 's/](.*/]/' >"$work/new"
  diff "$work/kept" "$work/new" || fail "the new page has another form"
  # Every part that a folder may have, whether one has it yet or not.
  mkdir -p "$work/parts/all"
  parts=$("$python" -c "import sys; sys.path.insert(0, '$source/tools')
import results; print(*results.PARTS)")
  for name in $parts; do
    case $name in
      lengths | even* | decode) cp "$folder/lengths.json" "$work/parts/all/$name.json" ;;
      *) cp "$folder/sample.json" "$work/parts/all/$name.json" ;;
    esac
  done
  "$python" "$source/tools/results.py" write "$work/parts" "$work/parts.md"
  # That of the sample has two headings.
  [ "$(grep -c '^### ' "$work/parts.md")" -eq $(($(wc -w <<<"$parts") + 1)) ] ||
    fail "a part of the page is missing"
fi
echo "passed"
