#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# docs/sweeps.md, tried: twenty settings under GNU parallel, of which one is
# killed, are resumed and merged, and say what a single run says.
#   sweep_parallel_test.sh HEED
# Ends with 77, "skipped", where GNU parallel is not installed.
set -euo pipefail
heed=$1
if ! parallel --version 2>/dev/null | grep -q '^GNU parallel'; then
  echo "skipped: GNU parallel is not installed (bash tools/setup.sh build)"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export PARALLEL_HOME=$folder
: >will-cite # the notice that asks for citations stays out of the log

problem="--problem b1_h2_d16_q200_f32_causal --repeats 1 --threads 1"
for window in 4 8 12 16 24 32 48 64 96 128; do
  for sink in 0 4; do
    echo "window_sink:window=$window:sink=$sink"
  done
done >settings.txt
[ "$(wc -l <settings.txt)" = 20 ]

# The first time, the job of line 7 ends itself by a signal before it computes.
cat >job.sh <<'JOB'
if [ "$1" = 7 ] && [ ! -e killed ]; then
  : >killed
  kill -KILL $$
fi
exec "$HEED" compare -q $PROBLEM "$2" --resume "runs/$1.json" >"runs/$1.txt"
JOB
mkdir runs
export HEED=$heed PROBLEM=$problem

sweep() {
  parallel --jobs 2 --joblog sweep.log --resume-failed \
    bash job.sh '{#}' '{}' :::: settings.txt
}

status=0
sweep 2>first.log || status=$?
[ "$status" = 1 ] || { echo "one job was to fail, not $status"; cat first.log; exit 1; }
[ "$(ls runs/*.json | wc -l)" = 19 ] || { echo "nineteen files were to be there"; exit 1; }
[ ! -e runs/7.json ]
stamp=$(stat -c %Y.%i runs/6.json)

sweep
[ "$(ls runs/*.json | wc -l)" = 20 ]
# What had ended well was not run again.
[ "$(stat -c %Y.%i runs/6.json)" = "$stamp" ] || { echo "job 6 ran twice"; exit 1; }

"$heed" merge runs/*.json --json all.json >merge.txt
grep -q '^21 rows of 20 files, from 1 machine$' merge.txt || { cat merge.txt; exit 1; }
# shellcheck disable=SC2086
"$heed" compare -q $problem $(cat settings.txt) --json single.json >/dev/null
# Quality by the tool itself, which says what changed; times are a single
# round's and are not compared.
# shellcheck disable=SC2086
"$heed" compare -q $problem $(cat settings.txt) --against all.json --json against.json >against.txt || {
  cat against.txt
  exit 1
}
grep -q '^0 of 21 rows changed beyond noise$' against.txt
# And without it: the lines of quality, sorted by row.
quality() {
  python3 - "$1" <<'PYTHON'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
for row in sorted(rows, key=lambda row: row["name"]):
    print(row["name"], [row[key] for key in (
        "gate", "flops", "bytes", "kv_bytes", "density", "mass_mean",
        "mass_p05", "rel_l2", "max_abs", "cosine")])
PYTHON
}
if command -v python3 >/dev/null; then
  diff <(quality all.json) <(quality single.json)
fi
echo "20 settings, one killed, resumed and merged: as a single run"
