#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Builds everything and runs every native test: bash tools/test.sh [arguments
# of ctest], such as: bash tools/test.sh -R bits
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh build
bash tools/build.sh release
exec ctest --preset release -j "$(nproc)" "$@"
