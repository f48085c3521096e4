#!/usr/bin/env bash
# Runs the tests that need a GPU; those of two ranks skip where there is one.
#
#   scripts/gpu/test.sh [GTEST_OPTION ...]
#   DROVER_SANITIZER=memcheck scripts/gpu/test.sh    under compute-sanitizer
#
# $DROVER_TEST_PROCESSES (default 8) share a GPU; two ranks have theirs alone.

source "$(dirname "$0")/env.sh" || exit 1

runner=()
if [[ -n ${DROVER_SANITIZER:-} ]]; then
  runner=(compute-sanitizer --tool "$DROVER_SANITIZER" --error-exitcode 1)
fi
folder="$(mktemp -d)"
trap 'jobs -p | xargs -r kill 2>/dev/null || true; rm -rf "$folder"' EXIT

# run_tests PROCESSES PROGRAM GTEST_OPTION ...: what those say that fail.
run_tests() {
  local count="$1" program="$2" failed=0 i pids=()
  shift 2
  for ((i = 0; i < count; ++i)); do
    GTEST_TOTAL_SHARDS="$count" GTEST_SHARD_INDEX="$i" \
      "${runner[@]}" "$GPU_DIR/bin/$program" "$@" >"$folder/$i.log" 2>&1 &
    pids+=($!)
  done
  for ((i = 0; i < count; ++i)); do
    wait "${pids[i]}" || {
      failed=1
      cat "$folder/$i.log"
    }
  done
  cat "$folder"/*.log | awk '/^\[       OK \].* ms\)$/ { ++passed }
    /^\[  SKIPPED \].* ms\)$/ { ++skipped }
    /^there (is|are) no / { reason = ": " $0 }
    END { printf "%d passed, %d skipped%s\n", passed, skipped, reason }'
  rm "$folder"/*.log
  ((failed == 0)) || die "$program: tests failed"
}

stage "running the tests on the GPU: cuda_model_test" \
  run_tests "${DROVER_TEST_PROCESSES:-8}" cuda_model_test "$@"
stage "running the tests on the GPU: cuda_2_ranks_test" \
  run_tests 1 cuda_2_ranks_test "$@"
