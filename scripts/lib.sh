# shellcheck shell=bash
# Sourced by the scripts beside it: where things are, and how progress and
# failure are told.

set -euo pipefail

DROVER_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly DROVER_ROOT
readonly CACHE_DIR="${DROVER_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}"

say() { printf '==> %s\n' "$*"; }

# die MESSAGE [ADVICE ...]: says what was wrong, then what would be right.
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '       %s\n' "$@" >&2
  exit 1
}

# stage TITLE COMMAND ...: runs the command and tells how long it took.
stage() {
  local title="$1" started=$SECONDS
  shift
  say "$title"
  "$@"
  say "$title: done in $((SECONDS - started)) s"
}

# log_file NAME: a file under build/ for output that only failure makes
# interesting.
log_file() {
  mkdir -p "$DROVER_ROOT/build/logs"
  printf '%s/build/logs/%s.log' "$DROVER_ROOT" "$1"
}

# run_logged LOG COMMAND ...: quiet; shows the end of the log on failure.
run_logged() {
  local log="$1"
  shift
  "$@" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "this failed: $*" "its whole output is in $log"
  }
}

# configure_and_build PRESET [TARGET ...]: all of the preset by default.
configure_and_build() {
  local preset="$1"
  shift
  run_logged "$(log_file "configure-$preset")" \
    cmake --preset "$preset" -DDROVER_CACHE_DIR="$CACHE_DIR"
  cmake --build "build/$preset" ${1:+--target "$@"}
}

# run_ctest PRESET [CTEST_OPTION ...]: the preset's tests in random order.
# Their own output is shown where they fail.
run_ctest() {
  local preset="$1"
  shift
  ctest --test-dir "build/$preset" --output-on-failure --schedule-random \
    --no-tests=error "$@"
}
