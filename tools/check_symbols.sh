#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Checks what the compiled library asks of its host and of the CPU:
#   bash tools/check_symbols.sh libheed.a|libheed.so
# An archive may call only the functions listed here, and only its functions
# made for an instruction set may hold that set's instructions. A shared library
# may export only heed's own names. NM and OBJDUMP name the binutils.
set -euo pipefail
export LC_ALL=C
library=$1
nm=${NM:-nm}
objdump=${OBJDUMP:-objdump}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
complain() {
  echo "symbols: $1" >&2
  [ $# -lt 2 ] || sed 's/^/    /' <<<"$2" >&2
  failed=1
}

if [[ $library == *.so* ]]; then
  exported=$("$nm" -D --defined-only -C "$library" | cut -d' ' -f3-)
  foreign=$(grep -vE '^(typeinfo (name )?for |vtable for )?heed(::|_)' <<<"$exported" || true)
  [ -z "$foreign" ] || complain "$library exports names that are not heed's:" "$foreign"
  # Internal are those that no public header declares: its templates may call what
  # it keeps in a namespace internal. The rest are doors by which tests reach every
  # table.
  declared=$(sed -nE 's/^ *HEED_API .*\b([A-Za-z0-9_]+)\(.*/\1/p' \
    "${BASH_SOURCE[0]%/*}"/../include/heed/*.h | sort -u | paste -sd'|')
  internal=$(grep -E '^heed::([a-z_]+::)*internal::' <<<"$exported" |
    grep -vE "::($declared|FindKernels|SetOpsTarget)[(]" || true)
  [ -z "$internal" ] || complain "$library exports internal names:" "$internal"
  [ $failed -eq 0 ] && echo "symbols: $(wc -l <<<"$exported") exported names, all heed's"
  exit $failed
fi

# ---- Undefined symbols ------------------------------------------------------

# Memory and text in memory, and what -D_FORTIFY_SOURCE and -fstack-protector
# make of them. Of the mathematics only what IEEE 754 rounds one way: a call to
# expf would make the output's bits depend on the host.
host='mem(cpy|move|set|cmp)|str(len|cmp|ncmp)|v?snprintf'
host+='|__(mem(cpy|move|set)|v?snprintf)_chk|__stack_chk_(fail|guard)'
host+='|(fma|fmax|fmin|sqrt|ldexp|floor|ceil|nearbyint|rint)f?|_GLOBAL_OFFSET_TABLE_'
# Detection of the CPU, once.
host+='|__cpu_(model|features2|indicator_init)|getauxval|__cxa_guard_(acquire|release)'
# Atomic operations of Arm, chosen by the compiler's own library.
host+='|__aarch64_[a-z0-9_]+'
# The workspaces of the one-shot calls, and counting beforehand what a pattern
# costs, which no run does: the only allocations.
allocating_files='(attention|run_scan|pattern_variant)\.(cc\.)?o(bj)?'
allocation='malloc|free|aligned_alloc|posix_memalign'
allocation+='|_Zn[wa]m(St11align_val_t)?(RKSt9nothrow_t)?|_Zd[la]Pv(m)?(St11align_val_t)?(RKSt9nothrow_t)?|_ZSt7nothrow'

"$nm" -A "$library" >"$work/nm"
awk '$(NF-1) ~ /^[A-TV-Zi]$/ && $(NF-1) !~ /^[wv]$/ {print $NF}' "$work/nm" |
  sort -u >"$work/defined"
awk '$(NF-1) ~ /^[Uwv]$/ {print $NF}' "$work/nm" | sort -u >"$work/wanted"
comm -13 "$work/defined" "$work/wanted" >"$work/undefined"
foreign=$(grep -vxE "$host|$allocation" "$work/undefined" | c++filt || true)
[ -z "$foreign" ] || complain "the library calls what it may not:" "$foreign"
hwy=$(awk '$(NF-1) ~ /^[UwvWV]$/ {print $NF}' "$work/nm" | sort -u | c++filt |
  grep -E '\bhwy::' || true)
[ -z "$hwy" ] || complain "undefined or weak symbols of Highway:" "$hwy"
allocating=$(awk '$(NF-1) == "U" {print $1, $NF}' "$work/nm" |
  grep -E " ($allocation)$" | sed -E 's/^[^:]*:([^:]*):.*/\1/' | sort -u || true)
allocating=$(grep -vxE "$allocating_files" <<<"$allocating" || true)
[ -z "$allocating" ] ||
  complain "these allocate, which only one-shot calls may:" "$allocating"

# ---- Instructions -----------------------------------------------------------

# Which instructions go beyond the baseline, and which functions may hold them:
# those in Highway's namespace of a target. A weak one could replace the host's
# function of the same name, so none may be.
format=$("$objdump" -f "$library" | awk '/file format/ && !found {found = 1; print $NF}')
case $format in
  *x86-64)
    # VEX and EVEX encodings: every mnemonic in v but two of the system's.
    beyond='^v' plain='^ver[rw]$' targets='N_AVX[0-9A-Z_]*'
    operands='%[yz]mm|%k[0-7]|%xmm(1[6-9]|2[0-9]|3[01])' ;;
  *aarch64)
    beyond='^(ptrue|pfalse|rdvl|addvl|addpl|cnt[bhwd]|inc[bhwd]|whilel[aeost]+)$'
    plain='^$' targets='N_SVE[0-9A-Z_]*' operands='\<z[0-9]+(\.[bhsdq])?\>|\<p[0-9]+[/.]' ;;
  *)
    echo "symbols: no instruction check for $format"
    exit $failed ;;
esac
"$objdump" -d --no-show-raw-insn "$library" >"$work/dump"
awk -v beyond="$beyond" -v plain="$plain" -v operands="$operands" '
  /^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3); next }
  /file format/ { object = $1; next }
  $1 ~ /^[0-9a-f]+:$/ {
    if (($2 ~ beyond && $2 !~ plain) || $0 ~ operands)
      if (!seen[object name]++) print object, name
  }' "$work/dump" >"$work/beyond"
c++filt <"$work/beyond" >"$work/beyond.names"
leaks=$(grep -vE "::$targets::" "$work/beyond.names" || true)
[ -z "$leaks" ] ||
  complain "instructions beyond the baseline outside a target's functions:" "$leaks"
weak=$(awk '$(NF-1) ~ /^[WV]$/ {print $NF}' "$work/nm" | sort -u |
  grep -Fxf - <(cut -d' ' -f2- "$work/beyond" | sort -u) | c++filt || true)
[ -z "$weak" ] || complain "weak functions beyond the baseline:" "$weak"
[ -s "$work/beyond" ] || complain "no function of any target in $library"

[ $failed -eq 0 ] && echo "symbols: $(wc -l <"$work/undefined") of the host's," \
  "$(wc -l <"$work/beyond") functions beyond the baseline, all in their target"
exit $failed
