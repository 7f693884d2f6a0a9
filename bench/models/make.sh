#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Measures what docs/models.md and docs/findings.md show, into bench/models/CPU/, with
# the `heed` of an installed wheel, and writes the pages anew. "quick" takes minutes on
# two quiet cores, "whole" an hour: two texts, every head, facts, needles at several
# lengths, and each variant in each layer alone.
#
# usage: bash bench/models/make.sh CPU [quick|whole] [HEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=bench/models/${1:?the name of the CPU, such as zen5}
how=${2:-quick}
heed=${3:-heed}
python=$(dirname "$(command -v "$heed")")/python3  # that of the wheel
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

# heed eval; its lines go to a folder that nobody has.
evaluate() {
  local name=$1
  shift
  "$heed" eval "$@" --out "$work/$name.jsonl" --json "$folder/$name.json"
  sed -i "s#$work/##" "$folder/$name.json"
}

evaluate quick --preset quick  # what tools/test_eval.sh holds others to
if [ "$how" = quick ]; then
  preset=quick  # of positions
  cp "$folder/quick.json" "$folder/eval.json"
  "$heed" heads --out "$folder/heads.json"
else
  preset=full
  evaluate eval --preset standard
  evaluate needles --tasks lm,needle --documents 2 --length 512,1024,2048
  evaluate layers --tasks lm,needle --documents 1 --tokens 1024 --length 1024 --by-layer
  "$heed" heads --ablate mean --prune --out "$folder/heads.json"
  "$heed" facts --documents 12 --out "$folder/facts.json"
fi
evaluate fitted --tokens 512 --tasks lm --variants hedgehog_fitted ridge_fitted linear_elu \
  window_linear:window=64 window_sink:window=64:sink=0
evaluate dropped --tokens 384 --tasks lm --variants sparq:k=32,64:r=16:local=8 \
  sparq_mean:k=32,64:r=16:local=8
"$python" bench/studies/head_count.py --out "$work/head_count.jsonl" \
  --save "$work/llama_of_bytes" --json "$folder/head_count.json"
"$heed" positions --preset $preset --out "$work/positions.jsonl" --json "$folder/positions.json"
"$heed" positions "$work/llama_of_bytes" --parts length --preset full \
  --text "$work/llama_of_bytes/held_out.txt" --out "$work/small.jsonl" \
  --json "$folder/positions_small.json"
sed -i "s#$work/##g" "$folder"/positions*.json "$folder/head_count.json"
also=()
[ -d "bench/results/$1" ] && also=(--folder "bench/results/$1")
"$heed" bars --folder "$folder" "${also[@]}" --out "$work/bars.jsonl" \
  --json "$folder/bars.json"
sed -i "s#$work/##" "$folder/bars.json"
# The pictures.
browser=$(command -v chromium || command -v chromium-browser || true)
[ -z "$browser" ] || "$python" tools/findings_page.py pictures "$browser"
python3 tools/findings_page.py write
python3 tools/models_page.py write
