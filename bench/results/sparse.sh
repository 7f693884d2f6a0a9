#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Finds out what sparse methods are worth on a long prompt of a real model, for
# docs/results.md, into bench/results/CPU/: from what length they beat exact attention where
# both keep the same attention; what blocks of which size need; what XAttention owes to its
# antidiagonals and its threshold. Times are of one thread, at a real-time priority where the
# system grants it; all other numbers are the same anywhere. Most of the time is the oracle's.
#
# usage: bash bench/results/sparse.sh CPU [HEED]
#
# The prompt: 4,096 tokens of Moby Dick through SmolLM2-135M, captured into build/ where it is
# not there yet (tools/capture/README.md; CAPTURE_PYTHON has what it needs).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=bench/results/${1:?the name of the CPU, such as zen5}
heed=${2:-build/release/bin/heed}
capture=build/smollm2_135m_4096.safetensors
first=()
chrt -f 10 true 2>/dev/null && first=(chrt -f 10)
mkdir -p "$folder" build
if [ ! -e "$capture" ]; then
  "${CAPTURE_PYTHON:-python3}" tools/capture/capture.py --tokens 4096 \
    --layers 10,19 --out "$capture"
fi

compare() {
  local name=$1
  shift
  "${first[@]}" "$heed" compare -q --threads 1 --input "$capture" \
    --json "$folder/$name.json" "$@" >/dev/null
  python3 tools/results.py trim "$folder/$name.json"
}

# From what length a method beats exact attention, at 0.95 of the attention.
compare even --at mass=0.95 --layers 10 --tokens 256,512,1024,2048,4096 --repeats 5 \
  {block_topk,random_blocks}:block=64 xattention:block=64:stride=16 \
  vertical_slash:slash_size=256 window_sink

# What blocks of which size need for it.
compare blocks --at mass=0.95 --layers 10 --tokens 2048 --repeats 1 \
  {block_topk,oracle_topk,random_blocks}:block=16,32,64,128 \
  xattention:block=16,32,64,128:stride=16

# XAttention: pairs of a tile, selectors, strides.
compare ablation --at mass=0.95 --layers 10 --tokens 2048 --repeats 1 \
  xattention:stride=8:pattern=0,1,2 xattention:stride=8:selector=1,2 \
  xattention:stride=4,16,64

browser=$(command -v chromium || command -v chromium-browser || true)
[ -z "$browser" ] || python3 tools/results.py pictures "$heed" "$browser"
python3 tools/results.py write
python3 tools/findings_page.py write
