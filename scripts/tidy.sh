#!/usr/bin/env bash
# Builds with clang, its thread-safety analysis and clang-tidy on every file.
#
#   scripts/tidy.sh [TARGET ...]     for example: drover_scheduler

source "$(dirname "$0")/lib.sh" || exit 1
cd "$DROVER_ROOT"

scripts/setup.sh tidy
stage "clang and clang-tidy (preset tidy)" configure_and_build tidy "$@"
