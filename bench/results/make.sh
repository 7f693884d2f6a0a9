#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Measures what docs/results.md shows, into bench/results/CPU/, and writes the page
# anew. One thread, and a real-time priority where the system grants it: other work
# must not decide who is faster. Minutes; some variants check themselves for long.
#
# usage: bash bench/results/make.sh CPU [HEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=bench/results/${1:?the name of the CPU, such as zen3}
heed=${2:-build/release/bin/heed}
first=()
chrt -f 10 true 2>/dev/null && first=(chrt -f 10)
mkdir -p "$folder"

# Without layer by layer, which the page does not show, and without blanks.
compare() {
  local name=$1
  shift
  "${first[@]}" "$heed" compare -q --threads 1 --json "$folder/$name.json" "$@" >/dev/null
  python3 tools/results.py trim "$folder/$name.json"
}

# Every variant at its defaults against length.
mapfile -t variants < <("$heed" variants --json | python3 -c '
import json, sys
for v in json.load(sys.stdin)["variants"]:
    if v["causal"]:
        print(v["name"])')
compare lengths --repeats 3 --problem b1_h1_d64_q256_k256_f32_causal \
  --tokens 256,512,1024,2048,4096 "${variants[@]}"

# Budgets on a prompt of a real model.
compare sample --repeats 5 --layers 10,19 naive \
  window_sink:window=32,64,128,256,512 \
  vertical_slash:vertical_size=32,128:slash_size=64,256 \
  xattention:threshold=0.5,0.7,0.9 quest:token_budget=64,128,256,512 \
  {block_topk,oracle_topk,random_blocks}:total_blocks=2,3,4,6,8 \
  oracle_topp:share=0.8,0.9,0.95 longformer:window=64,128,256 \
  bigbird:random=1,3 strided fixed dilated:window=64,256 tri_shape \
  linear_elu retnet gla gated_delta performer:features=64,256

browser=$(command -v chromium || command -v chromium-browser || true)
[ -z "$browser" ] || python3 tools/results.py pictures "$heed" "$browser"
python3 tools/results.py write
python3 tools/findings_page.py write
