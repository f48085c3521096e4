#!/usr/bin/env bash
# Exactly what CI runs: the format, all tests, the tests again under
# AddressSanitizer and UBSan (all that links no LibTorch), and an installed
# tree that runs from elsewhere.
#
#   scripts/check.sh

source "$(dirname "$0")/lib.sh" || exit 1
cd "$DROVER_ROOT"

scripts/setup.sh check
stage "checking the format" scripts/format.sh --check
stage "checking the scripts" \
  shellcheck --external-sources --source-path=scripts scripts/*.sh .ci/run
scripts/test.sh
stage "building with ASan and UBSan (preset asan)" configure_and_build asan
stage "running the tests under ASan and UBSan" run_ctest asan -L unit
stage "building what is shipped (preset release)" configure_and_build release
stage "checking an installed tree" scripts/check_install.sh build/release
say "all checks passed ($SECONDS s)"
