#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# A target is one row of lib/kernels/target_list.h: its name and Highway's
# constant for it stand there once and nowhere else in the code.
set -euo pipefail
cd "$1"
export LC_ALL=C

list=lib/kernels/target_list.h
failed=0
complain() {
  echo "targets: $*" >&2
  failed=1
}

code() {
  grep -rnE --include='*.cc' --include='*.h' --include='*.sh' "$1" \
    lib bench tools || true
}
rows=$(sed -nE 's/.*(HIGHWAY|PORTABLE)\(([A-Za-z0-9]+), "([^"]+)"(, ([A-Z0-9_]+))?.*/\3 \5/p' \
  "$list")
[ -n "$rows" ] || complain "no rows found in $list"

while read -r name suffix; do
  in_rows=$(grep -cE "^ +(HIGHWAY|PORTABLE)\([A-Za-z0-9]+, \"$name\"" "$list" || true)
  [ "$in_rows" -eq 1 ] || complain "\"$name\" has $in_rows rows in $list"
  # A comment may give an example.
  places=$(code "\"$name\"" | grep -vE "^$list:|^[^:]+:[0-9]+: *(//|#)" || true)
  [ -z "$places" ] || complain "\"$name\" stands outside $list:"$'\n'"$places"
  [ -n "$suffix" ] || continue
  places=$(code "\bHWY(_CHOOSE)?_$suffix\b" |
    grep -vE "^[^:]+:[0-9]+: *//" || true)
  [ -z "$places" ] || complain "HWY_$suffix stands outside the rows of $list:"$'\n'"$places"
done <<<"$rows"

[ $failed -eq 0 ] && echo "targets: $(wc -l <<<"$rows") rows, each the only place"
exit $failed
