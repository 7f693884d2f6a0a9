#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Lays out what the tests of a 64-bit Arm build need: bash
# cmake/aarch64_sysroot.sh [folder]. Remove the folder to renew it. Header-only
# libraries are the same for every CPU and are copied from this system;
# GoogleTest is compiled from the sources that its package ships. So no foreign
# packages are installed, and no network is needed. (The host's own include
# folder can't be searched by a cross compiler: the host's C library stands in it
# too.)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sysroot=${1:-build/aarch64-sysroot}
stamp=$sysroot/complete
[ -e "$stamp" ] && exit 0

rm -rf "$sysroot"
mkdir -p "$sysroot/usr/include"
for library in hwy xsimd nlohmann fmt CLI; do
  [ -d "/usr/include/$library" ] &&
    cp -r "/usr/include/$library" "$sysroot/usr/include/"
done
mkdir -p "$sysroot/usr/lib/cmake" "$sysroot/usr/share/cmake"
for package in nlohmann_json CLI11; do
  [ -d "/usr/share/cmake/$package" ] &&
    cp -r "/usr/share/cmake/$package" "$sysroot/usr/share/cmake/"
done

cmake -G Ninja -S /usr/src/googletest -B "$sysroot/googletest" \
  -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64-linux-gnu.cmake" \
  -DHEED_SYSROOT="$sysroot" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_INSTALL_PREFIX="$sysroot/usr" >"$sysroot/googletest.log"
cmake --build "$sysroot/googletest" --target install >>"$sysroot/googletest.log"
rm -r "$sysroot/googletest"
touch "$stamp"
