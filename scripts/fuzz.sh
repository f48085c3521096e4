#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz with clang's libFuzzer, under ASan and
# UBSan, from their stored corpora.
#
#   scripts/fuzz.sh [SECONDS [TARGET ...]]     5 s each, all targets by default
#
# New inputs that reach new code stay in build/fuzz/corpus/TARGET, for the next
# run. What fails is left in build/fuzz/failures/TARGET; mended, it goes to
# tests/fuzz/corpus/TARGET under the name of what was wrong.

source "$(dirname "$0")/lib.sh" || exit 1
cd "$DROVER_ROOT"

readonly SECONDS_EACH="${1:-5}"
[[ "$SECONDS_EACH" =~ ^[1-9][0-9]*$ ]] ||
  die "no such number of seconds: $SECONDS_EACH" "1 or more"
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
  mapfile -t targets < <(ls tests/fuzz/corpus)
fi

# fuzz TARGET
fuzz() {
  local target="$1"
  local stored="tests/fuzz/corpus/$target" found="build/fuzz/corpus/$target"
  local failures="build/fuzz/failures/$target" dictionary
  [[ -d "$stored" ]] ||
    die "no such target: $target" "one of: $(ls -m tests/fuzz/corpus)"
  mkdir -p "$found" "$failures"
  local -a options=(-max_total_time="$SECONDS_EACH" -timeout=10
    -rss_limit_mb=2048 -artifact_prefix="$failures/")
  dictionary="tests/fuzz/$target.dict"
  [[ ! -f "$dictionary" ]] || options+=(-dict="$dictionary")
  local log
  log="$(log_file "fuzz-$target")"
  "build/fuzz/bin/${target}_fuzz" "${options[@]}" "$found" "$stored" \
    >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "the target $target failed" "its input is in $failures" \
      "again: build/fuzz/bin/${target}_fuzz FILE"
  }
  say "$target: $(tail -n 1 "$log")"
}

scripts/setup.sh fuzz
stage "building the fuzz targets (preset fuzz)" \
  configure_and_build fuzz drover_fuzz
for target in "${targets[@]}"; do
  fuzz "$target"
done
