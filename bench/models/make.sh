#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Measures what docs/models.md shows, into bench/models/CPU/, with the `heed` of an
# installed wheel, and writes the page anew. Minutes on two quiet cores for each of them.
#
# usage: bash bench/models/make.sh CPU [HEED [PYTHON]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=bench/models/${1:?the name of the CPU, such as zen5}
heed=${2:-heed}
python=${3:-python3}  # that of the wheel
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

"$heed" eval --preset quick --out "$work/eval.jsonl" --json "$folder/eval.json"
sed -i "s#$work/##" "$folder/eval.json"  # a folder that nobody has
"$heed" heads --out "$folder/heads.json"
"$python" bench/studies/head_count.py --out "$work/head_count.jsonl" \
  --save "$work/llama_of_bytes" --json "$folder/head_count.json"
"$heed" positions --out "$work/positions.jsonl" \
  --json "$folder/positions.json"
"$heed" positions "$work/llama_of_bytes" --parts length --preset full \
  --text "$work/llama_of_bytes/held_out.txt" --out "$work/small.jsonl" --json "$folder/positions_small.json"
sed -i "s#$work/##g" "$folder"/positions*.json "$folder/head_count.json"
python3 tools/models_page.py write
