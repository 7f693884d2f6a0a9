#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# docs/sweeps.md, executed as it stands there: twenty settings under GNU parallel,
# and under a Slurm array, of which one job is killed, and which are resumed and
# merged and say what a single run says. Slurm is a stand-in that does what the
# page relies on.
#   sweeps_test.sh HEED SOURCE
# Ends with 77, "skipped", where GNU parallel is not installed; the array ran.
set -euo pipefail
heed=$1
page=$2/docs/sweeps.md
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export PARALLEL_HOME=$folder HEED=$heed
: >will-cite # the notice that asks for citations stays out of the log

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

# Prints the block of the page that has this line in it.
block() {
  awk -v line="$1" '
    /^```/ { if (inside && index(text, line)) { printf "%s", text; exit } inside = !inside; text = ""; next }
    inside { text = text $0 "\n" }' "$page" >block.sh
  [ -s block.sh ] || fail "docs/sweeps.md has no block with '$1'"
  cat block.sh
}

# The page's heed, on a problem that takes no time; the job of line 7 ends itself
# by a signal the first time, before it computes.
mkdir bin
cat >bin/heed <<'END'
#!/usr/bin/env bash
[ "$1" = compare ] || exec "$HEED" "$@"
if [[ " $* " == *" window_sink:window=16:sink=0 "*--resume* ]] && [ ! -e killed ]; then
  : >killed
  kill -KILL $$
fi
exec "$HEED" "$@" --problem b1_h2_d16_q200_f32_causal --repeats 1
END
# sbatch --array=LIST SCRIPT: runs each task with its number and what the script's
# own lines ask for, as Slurm sets them. Fails where a task does, which Slurm tells
# by other means.
cat >bin/sbatch <<'END'
#!/usr/bin/env bash
set -euo pipefail
list=${1#--array=} script=$2
[ "$list" != "$1" ] || { echo "sbatch: no array" >&2; exit 1; }
head -n 1 "$script" | grep -q '^#!' || { echo "sbatch: no interpreter" >&2; exit 1; }
option() { sed -n "s/^#SBATCH --$1=//p" "$script"; }
export SLURM_CPUS_PER_TASK
SLURM_CPUS_PER_TASK=$(option cpus-per-task)
status=0
for part in ${list%%%*}; do
  for range in ${part//,/ }; do
    for task in $(seq "${range%-*}" "${range#*-}"); do
      output=$(option output)
      SLURM_ARRAY_TASK_ID=$task bash "$script" >"${output//%a/$task}" 2>&1 || status=1
    done
  done
done
exit $status
END
cat >bin/srun <<'END'
#!/usr/bin/env bash
exec "$@"
END
chmod +x bin/*
export PATH=$folder/bin:$PATH

# Expects what a sweep left to be that of a single run.
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
check_merged() {
  grep -q '^21 rows of 20 files, from 1 machine$' merge.txt || fail "$(cat merge.txt)"
  # By the tool itself, which says what changed; times are a single round's and
  # are not compared. And without it.
  # shellcheck disable=SC2046
  heed compare -q $(cat settings.txt) --against all.json --json single.json >against.txt ||
    fail "$(cat against.txt)"
  grep -q '^0 of 21 rows changed beyond noise$' against.txt || fail "$(cat against.txt)"
  if command -v python3 >/dev/null; then diff <(quality all.json) <(quality single.json); fi
}

block 'done > settings.txt' | bash
[ "$(wc -l <settings.txt)" = 20 ] || fail "not twenty settings"
[ "$(sed -n 7p settings.txt)" = window_sink:window=16:sink=0 ] || fail "line 7 is another"

block '#SBATCH' >sweep.sh
submit=$(grep -o 'sbatch --array=1-20 sweep.sh' "$page" | head -n 1)
again=$(grep -o 'sbatch --array=7,13 sweep.sh' "$page" | head -n 1)
$submit && fail "one task was to fail"
missing=$(block 'for i in $(seq 20)' | bash)
[ "$missing" = 7 ] || fail "missing are '$missing', not 7"
stamp=$(stat -c %Y.%i runs/6.json)
$again
[ "$(ls runs/*.json | wc -l)" = 20 ] || fail "twenty files were to be there"
[ "$(stat -c %Y.%i runs/6.json)" = "$stamp" ] || fail "task 6 ran twice"
grep -q '^window_sink:window=16' runs/7.txt || fail "$(cat runs/7.txt)"
heed merge runs/*.json --json all.json >merge.txt
check_merged
echo "20 settings of an array, one killed, resumed and merged: as a single run"

if ! parallel --version 2>/dev/null | grep -q '^GNU parallel'; then
  echo "skipped the rest: GNU parallel is not installed (bash tools/setup.sh build)"
  exit 77
fi
rm -r runs killed all.json
mkdir runs
block ':::: settings.txt' >parallel.sh
sed -i '/^heed merge/d' parallel.sh
status=0
bash parallel.sh 2>first.log || status=$?
[ "$status" = 1 ] || fail "one job was to fail, not $status: $(cat first.log)"
[ "$(ls runs/*.json | wc -l)" = 19 ] && [ ! -e runs/7.json ] || fail "all but 7 were to be there"
stamp=$(stat -c %Y.%i runs/6.json)
bash parallel.sh
[ "$(ls runs/*.json | wc -l)" = 20 ] || fail "twenty files were to be there"
# What had ended well was not run again.
[ "$(stat -c %Y.%i runs/6.json)" = "$stamp" ] || fail "job 6 ran twice"
block ':::: settings.txt' | grep '^heed merge' | bash >merge.txt
check_merged
echo "20 settings under GNU parallel, one killed, resumed and merged: as a single run"
