#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Measures what docs/models.md shows, into bench/models/CPU/, with the `heed` of an
# installed wheel, and writes the page anew. Minutes on two quiet cores.
#
# usage: bash bench/models/make.sh CPU [HEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=bench/models/${1:?the name of the CPU, such as zen5}
heed=${2:-heed}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

"$heed" eval --preset quick --out "$work/eval.jsonl" --json "$folder/eval.json"
"$heed" eval --tokens 512 --tasks lm --variants hedgehog_fitted ridge_fitted linear_elu \
  window_linear:window=64 window_sink:window=64:sink=0 --out "$work/fitted.jsonl" \
  --json "$folder/fitted.json"
"$heed" eval --tokens 384 --tasks lm --variants sparq:k=32,64:r=16:local=8 \
  sparq_mean:k=32,64:r=16:local=8 --out "$work/dropped.jsonl" --json "$folder/dropped.json"
sed -i "s#$work/##" "$folder"/{eval,fitted,dropped}.json  # a folder that nobody has
"$heed" heads --out "$folder/heads.json"
python3 tools/models_page.py write
