#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# What .ci/run makes of jobs that pass, fail or have no end: bash ci_run_test.sh SOURCE
#
# The script is the real one, but for minutes of a second. What its jobs call is one
# script under many names, which passes, fails (FAIL) or has no end (HANG).
set -euo pipefail
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/bin" "$work/tree/.ci"
cat >"$work/fake" <<'END'
#!/usr/bin/env bash
call="$(basename "$0") $*"
echo "$call: is done"
[ "$call" != "${FAIL:-}" ] || { echo "this one fails"; exit 3; }
[ "$call" != "${HANG:-}" ] || {
  echo "${SAYS:-}"
  (trap '' TERM; for _ in {1..150}; do touch deaf; sleep 0.1; done) &
  sleep 100
}
END
chmod +x "$work/fake"
cp "$work/fake" "$work/bin/ctest"
sed 's/^minute=60 .*/minute=1/' "$source/.ci/run" >"$work/tree/.ci/run"
grep -qx minute=1 "$work/tree/.ci/run"
for path in $(grep -oE '\b(tools|cmake|tests/c)/[a-z0-9_]+\.sh|build/release/[a-z/_]+' \
  "$source/.ci/run" | sort -u); do
  mkdir -p "$work/tree/$(dirname "$path")"
  cp "$work/fake" "$work/tree/$path"
done

# Runs all jobs in a tree of their own, with 6 "minutes" or what is given: run NAME
# [VARIABLE=VALUE...]
run() {
  local name=$1 status=0
  shift
  cp -r "$work/tree" "$work/$name"
  env PATH="$work/bin:$PATH" HEED_CI_MINUTES=6 "$@" \
    bash "$work/$name/.ci/run" >"$work/$name.out" 2>&1 || status=$?
  echo "exit status: $status" >>"$work/$name.out"
}

failed=0
# says NAME LINE...: each a regular expression of a whole line of what the run said.
says() {
  local name=$1 line
  shift
  for line in "$@"; do
    grep -qxE -- "$line" "$work/$name.out" && continue
    echo "ci_run: $name: no line is '$line'; it said:" >&2
    cat "$work/$name.out" >&2
    failed=1
  done
}

run passing HEED_CI_MINUTES=60
run failing HEED_CI_MINUTES=60 FAIL="setup.sh build browser"
run hurried HEED_CI_MINUTES=0
run cut HANG="setup.sh build abi" &
run needed HANG="test_python.sh " &
run broken HANG="setup.sh build abi" SAYS="3/4 Test #3: some_test ...***Failed  0.1 sec" &
wait

says passing "models +passed +[0-9]+ s" "11 passed, 0 failed, 0 for want of time" \
  "exit status: 0"
says failing "browser +FAILED +[0-9]+ s" "this one fails" "models +passed +[0-9]+ s" \
  "10 passed, 1 failed, 0 for want of time" "exit status: 1"
says hurried "format +FAILED +0 s" "no time was left for it" "models +left out +0 s" \
  "0 passed, 4 failed, 7 for want of time" "exit status: 1"
says cut "package +cut off +[0-9]+ s" "mpi +left out +0 s" \
  "5 passed, 0 failed, 6 for want of time" "exit status: 0"
says needed "python +FAILED +[0-9]+ s" "exit status: 1"
says broken "package +FAILED +[0-9]+ s" "5 passed, 1 failed, 5 for want of time" \
  "exit status: 1"

# Nothing that a job started outlives it.
rm "$work/cut/deaf"
sleep 1
if [ -e "$work/cut/deaf" ]; then
  echo "ci_run: a process of a job that was cut off is still there" >&2
  failed=1
fi
[ $failed -eq 0 ] && echo "ci_run: 6 runs ended as they should"
exit $failed
