#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Builds heed and compares attention variants on tensors captured from a real
# language model: bash tools/demo.sh [arguments of heed compare]
#
# Without arguments a few well-known variants at two or three budgets; `heed
# compare` itself takes all variants then, which takes minutes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

bash "$root/tools/setup.sh" build
bash "$root/tools/build.sh" release --target heed_tool

if [ $# = 0 ]; then
  set -- window_sink:window=64,256,512 block_topk:total_blocks=3,6 \
    quest:token_budget=128,256 vertical_slash:vertical_size=64:slash_size=128 \
    xattention:threshold=0.7,0.9 \
    oracle_topk:total_blocks=3,6 random_blocks:total_blocks=3,6 \
    linear_elu performer gated_delta
fi

# Not from the repository: paths among the arguments are the caller's.
report=(--html "$root/build/demo.html")
for argument in "$@"; do
  case $argument in --html | --html=* | --help | -h) report=() ;; esac
done
exec "$root/build/release/bin/heed" compare "${report[@]}" "$@"
