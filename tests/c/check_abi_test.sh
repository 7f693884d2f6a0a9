#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# tools/check_abi.sh passes what is only added to the C door, and nothing else:
# each line below changes a copy of the header by a sed script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r include abi "$work"
mkdir "$work/tools"
cp tools/check_abi.sh "$work/tools"
header=include/heed/heed_c.h

failed=0
while IFS='|' read -r want what script; do
  cp "$header" "$work/$header"
  sed -i -z "$script" "$work/$header"
  got=passes
  bash "$work/tools/check_abi.sh" >"$work/log" 2>&1 || got=fails
  if cmp -s "$header" "$work/$header" || [ $got != "$want" ]; then
    echo "check_abi_test: $what: $got" >&2
    cat "$work/log" >&2
    failed=1
  fi
done <<'END'
passes|a function more|s/\nHEED_API int32_t heed_version(void);/&\nHEED_API int32_t heed_more(void);/
passes|a field at the end|s/\n  void\* const\* value_minimum_pages;/&\n  int64_t more;/
passes|a reserved field in use|s/\n  int32_t causal;\n  int32_t reserved;/\n  int32_t causal;\n  int32_t more;/
fails|a function less|s/\nHEED_API int32_t heed_version(void);//
fails|another parameter|s/heed_version(void)/heed_version(int64_t x)/
fails|a field in front|s/\n  const int32_t\* page_table;/\n  int64_t more;&/
fails|another type|s/\n  int64_t sink_size;/\n  uint64_t sink_size;/
fails|another name|s/\n  int64_t sink_size;/\n  int64_t sinks;/
fails|fields exchanged|s/\n  int64_t window_left;\n  int64_t window_right;/\n  int64_t window_right;\n  int64_t window_left;/
fails|a tensor that grows|s/\n  int64_t stride\[4\];/&\n  int64_t more;/
fails|another callback|s/int64_t i, int32_t worker);\n/int64_t i, int64_t worker);\n/
END
[ $failed -eq 0 ] && echo "check_abi_test: all as they should"
exit $failed
