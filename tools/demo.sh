#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Builds heed and compares attention variants on tensors captured from a real
# language model: bash tools/demo.sh [arguments of heed compare]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh build
bash tools/build.sh release --target heed_tool

report=(--html build/demo.html)
for argument in "$@"; do
  case $argument in --html | --html=* | --help | -h) report=() ;; esac
done
exec build/release/bin/heed compare "${report[@]}" "$@"
