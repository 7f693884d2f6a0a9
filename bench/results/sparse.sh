#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Finds out what sparse methods are worth on a long prompt of a real model, for
# docs/results.md, into bench/results/CPU/: from what length they beat exact attention where
# both keep the same attention; what every method keeps by the pairs that it computes; what
# blocks of which size need; what XAttention owes to its antidiagonals and its threshold. Times
# are of one thread, at a real-time priority where the system grants it; all other numbers are
# the same anywhere. Most of the time is the oracle's.
#
# usage: bash bench/results/sparse.sh CPU [HEED [PART...]]
#
# PART is one of even, decode, kept, blocks, ablation; without, all of them. The prompt: the
# first 8,192 tokens of chapter 54 of Moby Dick through SmolLM2-135M, captured into build/ where
# it is not there yet (tools/capture/README.md; CAPTURE_PYTHON has what it needs). 4,096 tokens
# are its first half.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=bench/results/${1:?the name of the CPU, such as zen5}
heed=${2:-build/release/bin/heed}
parts=("${@:3}")
[ ${#parts[@]} -gt 0 ] || parts=(even decode kept blocks ablation)
capture=build/smollm2_135m_8192.safetensors
first=()
chrt -f 10 true 2>/dev/null && first=(chrt -f 10)
mkdir -p "$folder" build
if [ ! -e "$capture" ]; then
  python=${CAPTURE_PYTHON:-python3}
  mapfile -t fetched < <("$python" tools/capture/sources.py 54)
  "$python" -m heed capture "${fetched[0]}" --text "${fetched[1]}" --tokens 8192 \
    --layers 2,10,20 --out "$capture"
fi
sha256sum "$capture" >"$folder/captures.sha256"

compare() {
  local name=$1
  shift
  "${first[@]}" "$heed" compare -q --threads 1 --input "$capture" \
    --json "$folder/$name.json" "$@" >/dev/null
  python3 tools/results.py trim "$folder/$name.json"
}

# From what length a method beats exact attention, at 0.95 of the attention, layer by layer.
even() {
  local layer
  for layer in 2 10 20; do
    compare "even_$layer" --at mass=0.95 --layers "$layer" \
      --tokens 512,1024,2048,4096,8192 --repeats 5 \
      {block_topk,random_blocks}:block=64 xattention:block=64:stride=16 \
      flexprefill:min_budget=128:block=64 sparge:query_block=64 \
      vertical_slash:slash_size=256 window_sink
  done
}

# The same of decoding: the last 16 tokens, one by one.
decode() {
  compare decode --at mass=0.95 --layers 2,10,20 --queries 16 \
    --tokens 1024,2048,4096,8192 --repeats 5 quest random_blocks:block=16 window_sink
}

# How much of the attention every method that chooses keeps, by the pairs that it computes.
kept() {
  compare kept --layers 2,10,20 --tokens 2048 --repeats 1 \
    {block_topk,oracle_topk,random_blocks}:total_blocks=3,6,12,20 \
    oracle_topp:share=0.8,0.9,0.95,0.98 \
    xattention:block=64:threshold=0.7,0.9,0.97,0.99 \
    flexprefill:min_budget=128:block=64:gamma=0.5,0.7,0.9,0.97 \
    sparge:query_block=64:cdfthreshd=0.5,0.7,0.9,0.98 \
    vertical_slash:vertical_size=64,256,512:slash_size=128 \
    quest:token_budget=128,256,512,1024 dsa:index_topk=128,256,512,1024 \
    moba:moba_chunk_size=64:moba_topk=3,6,12 msa:block_size=64:topk=3,6,12 \
    nsa:window=64:select_count=4,8,16 \
    infllm:block_size=64:n_init=64:n_local=256:topk=2,6,12 \
    infllm_v2:window_size=256:topk=6,12,20 \
    double_sparsity:heavy_const=128,256,512 sparq:k=128,256,512 \
    reformer:n_hashes=2,4,8 hyperattention:block_size=128,256,512 \
    routing:window_size=128,256,512 \
    h2o:heavy=64,128,256:recent=128 {tova,key_norm}:cache=128,256,512 \
    snapkv:capacity=128,256,512 duo_attention:recent_size=128,512 \
    longformer:window=128,256,512 bigbird:random=1,3,9 strided fixed dilated \
    window_sink:window=128,256,512,1024
}

# What blocks of which size need for it.
blocks() {
  compare blocks --at mass=0.95 --layers 2,10,20 --tokens 4096 --repeats 1 \
    {block_topk,oracle_topk,random_blocks}:block=16,32,64,128 \
    xattention:block=16,32,64,128:stride=16
}

# XAttention: pairs of a tile, selectors, strides.
ablation() {
  compare ablation --at mass=0.95 --layers 2,10,20 --tokens 4096 --repeats 1 \
    xattention:stride=8:pattern=0,1,2 xattention:stride=8:selector=1,2 \
    xattention:stride=4,16,64
}

for part in "${parts[@]}"; do "$part"; done
browser=$(command -v chromium || command -v chromium-browser || true)
[ -z "$browser" ] || python3 tools/results.py pictures "$heed" "$browser"
python3 tools/results.py write
python3 tools/findings_page.py write
