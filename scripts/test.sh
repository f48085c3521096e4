#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests, shuffled.
#
#   scripts/test.sh [CTEST_OPTION ...]     for example: -R scheduler

source "$(dirname "$0")/lib.sh" || exit 1
cd "$DROVER_ROOT"

scripts/setup.sh test
stage "building (preset dev)" configure_and_build dev
stage "running the tests" run_ctest dev "$@"
