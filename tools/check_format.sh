#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Checks that sources are as clang-format leaves them, that every file names
# its licence, and that scripts parse. "--fix" formats in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files() { git ls-files --cached --others --exclude-standard -- "$@"; }
failed=0
complain() {
  echo "format: $*" >&2
  failed=1
}

mapfile -t sources < <(files '*.cc' '*.h' '*.c')
if [ "${1:-}" = --fix ]; then
  clang-format -i "${sources[@]}"
fi
version=$(clang-format --version | grep -oE '[0-9]+\.[0-9.]+' | head -n 1)
[ "${version%%.*}" = 14 ] ||
  echo "format: clang-format $version; the sources follow version 14" >&2
mapfile -t unformatted < <(clang-format --dry-run "${sources[@]}" 2>&1 |
  sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: warning: code should be.*/\1/p' | uniq)
if [ ${#unformatted[@]} -ne 0 ]; then
  printf '  %s\n' "${unformatted[@]}" >&2
  complain "not as clang-format leaves it: run 'bash tools/check_format.sh --fix'"
fi

mapfile -t scripts < <(files '*.sh' '.ci/run')
for script in "${scripts[@]}"; do
  bash -n "$script" || complain "$script does not parse"
done

while read -r file; do
  [ -s "$file" ] || continue
  head -n 4 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
    complain "$file: no SPDX lines at the top"
done < <(files '*.cc' '*.h' '*.c' '*.h.in' '*.cc.in' '*.cmake' '*.cmake.in' \
  '*CMakeLists.txt' '*.sh' '*.py' '.ci/run')

if grep -nE '[[:space:]]+$' -- "${sources[@]}" "${scripts[@]}"; then
  complain "blanks at the end of the lines above"
fi
[ $failed -eq 0 ] && echo "format: ${#sources[@]} sources, ${#scripts[@]} scripts"
exit $failed
