#!/usr/bin/env bash
# Runs the tests that need a GPU.
#
#   scripts/gpu/test.sh [GTEST_OPTION ...]
#   DROVER_SANITIZER=memcheck scripts/gpu/test.sh    under compute-sanitizer

source "$(dirname "$0")/env.sh" || exit 1

runner=()
if [[ -n ${DROVER_SANITIZER:-} ]]; then
  runner=(compute-sanitizer --tool "$DROVER_SANITIZER" --error-exitcode 1)
fi
stage "running the tests on the GPU" \
  "${runner[@]}" "$GPU_DIR/bin/cuda_model_test" "$@"
