#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Configures and builds a preset: bash tools/build.sh PRESET [arguments of
# cmake --build]. Where ccache is installed, what was compiled before in any
# checkout is not compiled again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if command -v ccache >/dev/null; then
  export CMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER-ccache}
  export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
  # Paths count from here, and precompiled headers by what they were made of.
  export CCACHE_BASEDIR=${CCACHE_BASEDIR-$PWD} CCACHE_NOHASHDIR=1
  export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS+$CCACHE_SLOPPINESS,}pch_defines,time_macros
fi

preset=$1
shift
mkdir -p build
log=build/configure-$preset.log
configure() {
  cmake --preset "$preset" >"$log" 2>&1 && return
  cat "$log" >&2
  exit 1
}
configure
# Where a preset's compiler is another than that of its folder, CMake begins anew, and
# forgets all else that the preset says.
if grep -q 'require your cache to be deleted' "$log"; then configure; fi
cmake --build --preset "$preset" "$@"
