#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# The targets in README's table are those of the library, no more and no fewer.
set -euo pipefail
cd "$1"
export LC_ALL=C

in_code=$(sed -nE 's/.*(HIGHWAY|PORTABLE)\([A-Za-z0-9]+, "([^"]+)".*/\2/p' \
  lib/kernels/target_list.h | sort)
in_readme=$(awk '/^## / { on = /^## Targets/ } on' README.md |
  sed -nE 's/^\| `([a-z0-9]+)` .*/\1/p' | sort)
[ -n "$in_code" ] || { echo "no names found in lib/kernels/target_list.h"; exit 1; }
if [ "$in_code" != "$in_readme" ]; then
  echo "README's table of targets differs from lib/kernels/target_list.h:"
  diff <(echo "$in_readme") <(echo "$in_code") || true
  exit 1
fi
