#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Builds heed and compares attention variants on tensors captured from a real
# language model: bash tools/demo.sh [arguments of heed compare]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

bash "$root/tools/setup.sh" build
bash "$root/tools/build.sh" release --target heed_tool

# Not from the repository: paths among the arguments are the caller's.
report=(--html "$root/build/demo.html")
for argument in "$@"; do
  case $argument in --html | --html=* | --help | -h) report=() ;; esac
done
exec "$root/build/release/bin/heed" compare "${report[@]}" "$@"
