#!/usr/bin/env bash
# Formats our C++ files with clang-format 14; --check only tells which ones
# would change.
#
#   scripts/format.sh [--check]

source "$(dirname "$0")/lib.sh" || exit 1
cd "$DROVER_ROOT"

command -v clang-format-14 >/dev/null ||
  die "clang-format-14 is missing; other versions format differently" \
    "on Debian 12: scripts/setup.sh check"
mapfile -d '' files < <(git ls-files -z --cached --others --exclude-standard \
  -- '*.cc' '*.h' '*.cu' '*.cuh')
case "${1:-}" in
  "") clang-format-14 -i -- "${files[@]}" ;;
  --check) clang-format-14 --dry-run --Werror -- "${files[@]}" ||
    die "the files named above are not formatted" "scripts/format.sh does it" ;;
  *) die "no such option: $1" "scripts/format.sh [--check]" ;;
esac
say "${#files[@]} files are formatted ($SECONDS s)"
