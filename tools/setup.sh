#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Installs what a task needs and is missing: bash tools/setup.sh TASK...
# The tasks and their packages stand in tools/packages.txt; "all" is every task.
# With nothing missing it does nothing and needs no network. Where it may not
# install, it prints what to install, and fails.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ $# -eq 0 ]; then
  echo "usage: bash tools/setup.sh TASK...   tasks: all" \
    "$(awk '!/^#/ && NF {print $1}' "$here/packages.txt" | uniq | xargs)" >&2
  exit 2
fi

# Prints the package manager of this system, or "unknown".
system() {
  local id=""
  [ "$(uname -s)" = Darwin ] && id=darwin
  if [ -r /etc/os-release ]; then
    id=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}")
  fi
  case " $id " in
    *" debian "* | *" ubuntu "*) echo apt ;;
    *" fedora "*) echo dnf ;;
    *" arch "*) echo pacman ;;
    *" darwin "*) echo brew ;;
    *) echo unknown ;;
  esac
}

manager=$(system)
case $manager in
  dnf) column=3 ;;
  pacman) column=4 ;;
  brew) column=5 ;;
  *) column=2 ;;
esac

installed() {
  case $manager in
    apt) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    dnf) rpm -q --whatprovides "$1" >/dev/null 2>&1 ;;
    pacman) pacman -Q "$1" >/dev/null 2>&1 ;;
    brew) brew ls --versions "$1" >/dev/null 2>&1 ;;
    *) return 0 ;;  # cannot be asked: CMake names what it misses
  esac
}

# Prints the packages of a task by their names here.
packages() {
  awk -v task="$1" -v column="$column" \
    '!/^#/ && NF && (task == "all" || $1 == task) && $column != "-" {print $column}' \
    "$here/packages.txt"
}

missing=()
for task in "$@"; do
  names=$(packages "$task")
  if [ -z "$names" ]; then
    echo "setup: tools/packages.txt names nothing for '$task' here" >&2
    exit 2
  fi
  for name in $names; do
    installed "$name" || missing+=("$name")
  done
done
[ ${#missing[@]} -eq 0 ] && exit 0

# Prints what a person has to type, and fails.
refuse() {
  local command
  case $manager in
    apt) command="sudo apt-get install" ;;
    dnf) command="sudo dnf install" ;;
    pacman) command="sudo pacman -S" ;;
    brew) command="brew install" ;;
  esac
  echo "setup: $1. Please install:" >&2
  echo "  $command ${missing[*]}" >&2
  exit 1
}

[ "$manager" = apt ] || refuse "it installs by itself on Debian and Ubuntu only"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    refuse "not root, and no sudo without a password"
  fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "setup: installing ${missing[*]}"
# A broken third-party source fails the update, yet not what comes from the
# system's own mirror: only the install decides.
"${as_root[@]}" apt-get -q update >"$log" 2>&1 ||
  echo "setup: 'apt-get update' failed, trying to install all the same" >&2
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
  --no-install-recommends install "${missing[@]}" >>"$log" 2>&1 </dev/null; then
  tail -n 20 "$log" >&2
  refuse "apt-get failed (its last words are above)"
fi
