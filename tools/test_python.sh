#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Builds the wheel and runs its tests in a clean virtual environment:
#
#   bash tools/test_python.sh [--frameworks] [arguments of pytest]
#
# The wheel takes the archives of the preset "release". With --frameworks the
# environment also has what the wheel's extras name (PyTorch, transformers, lm_eval,
# jax), which are gigabytes, the wheel is built with XLA's headers at hand, and a
# test that is skipped fails; without, their tests are skipped, and say so. PYTHON
# names another interpreter than python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
extras=""
tools=(scikit-build-core nanobind)
packages=(pytest ml_dtypes safetensors)
asked=()
if [ "${1:-}" = --frameworks ]; then
  shift
  extras="[hf,models,lm-eval,jax]"
  tools+=(jaxlib)
  asked=(--no-skips)
fi

# Stops with a sentence where pip can't.
install() {
  local pip=$1
  shift
  "$pip" install -q --disable-pip-version-check "$@" && return
  echo "test_python: pip could not install $* (its words are above): without them" \
    "nothing is tested" >&2
  exit 1
}

bash tools/setup.sh build
has_headers='import os, sysconfig, ensurepip
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))'
"$python" -c "$has_headers" 2>/dev/null || bash tools/setup.sh python
bash tools/build.sh release --target heed heed_variants heed_eval heed_tool

folder=build/python
mkdir -p $folder
rm -rf $folder/wheels
[ -x $folder/builder/bin/pip ] || "$python" -m venv $folder/builder
install $folder/builder/bin/pip "${tools[@]}"
$folder/builder/bin/pip wheel -q --disable-pip-version-check --no-deps \
  --no-build-isolation -C build-dir=$folder/prebuilt \
  -C cmake.define.HEED_BUILD_DIR=build/release -w $folder/wheels .

rm -rf $folder/tested
"$python" -m venv $folder/tested
wheels=($folder/wheels/*.whl)
install $folder/tested/bin/pip "${wheels[0]}$extras" "${packages[@]}"
exec $folder/tested/bin/python -m pytest -q -rs -p no:cacheprovider \
  "${asked[@]}" "$@" python/tests
