#!/usr/bin/env bash
# Runs the tests that need a GPU; those of two ranks skip where there is one.
#
#   scripts/gpu/test.sh [GTEST_OPTION ...]
#   DROVER_SANITIZER=memcheck scripts/gpu/test.sh    under compute-sanitizer

source "$(dirname "$0")/env.sh" || exit 1

runner=()
if [[ -n ${DROVER_SANITIZER:-} ]]; then
  runner=(compute-sanitizer --tool "$DROVER_SANITIZER" --error-exitcode 1)
fi
for program in cuda_model_test cuda_2_ranks_test; do
  stage "running the tests on the GPU: $program" \
    "${runner[@]}" "$GPU_DIR/bin/$program" "$@"
done
