#!/usr/bin/env bash
# Exactly what CI runs: the format, all tests; where there is nvcc, the CUDA
# build, whose tests skip themselves without a GPU, and its kernels for sm_80; an
# installed tree that runs from elsewhere; each fuzz target for 5 s; and, last, the
# tests again under AddressSanitizer and UBSan (all that links no LibTorch), so
# that the summary at the end of the log is of a run that had tests.
#
#   scripts/check.sh

source "$(dirname "$0")/lib.sh" || exit 1
cd "$DROVER_ROOT"

scripts/setup.sh check
stage "checking the format" scripts/format.sh --check
stage "checking the scripts" \
  shellcheck --external-sources --source-path=scripts --source-path=scripts/gpu \
  scripts/*.sh scripts/gpu/*.sh bench/*.sh bench/peers/*.sh .ci/run
scripts/test.sh
if command -v nvcc >/dev/null; then
  stage "building for CUDA (preset cuda)" configure_and_build cuda
  stage "compiling the kernels for sm_80 (preset cuda-80)" \
    configure_and_build cuda-80 drover_cuda_kernels drover_cuda_model
  stage "running the tests of the GPU, if there is one" \
    run_ctest cuda -R '^cuda_'
else
  say "no nvcc: the CUDA build is left out"
fi
stage "building what is shipped (preset release)" configure_and_build release
stage "checking an installed tree" scripts/check_install.sh build/release
stage "fuzzing" scripts/fuzz.sh 5
stage "building with ASan and UBSan (preset asan)" configure_and_build asan
stage "running the tests under ASan and UBSan" run_ctest asan -L unit
say "all checks passed ($SECONDS s)"
