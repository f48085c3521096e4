#!/usr/bin/env bash
# Names the Debian packages whose shared libraries the given programs load:
# what a machine needs that only runs an installed tree.
#
#   scripts/runtime_packages.sh PROGRAM ...

source "$(dirname "$0")/lib.sh"
(($# > 0)) || die "no program given" "scripts/runtime_packages.sh PROGRAM ..."

# The loader prints /lib/..., dpkg knows some files as /usr/lib/... instead.
ldd "$@" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
  while read -r library; do
    dpkg -S "$library" 2>/dev/null || dpkg -S "/usr$library" 2>/dev/null ||
      dpkg -S "$(readlink -f "$library")" 2>/dev/null || true
  done | sed 's/:.*//' | sort -u
