#!/usr/bin/env bash
# Builds llama.cpp's two benchmark programs from PyPI's llama-cpp-python, with
# the instructions of this machine, and a GGUF of the benchmark shape.
#
#   bench/peers/llama_cpp.sh [FOLDER]     default: build/peers
#
# The folder gets bin/llama-bench, bin/llama-batched-bench and
# llama-1.1b-bf16.gguf. What is there already is kept.

source "$(dirname "$0")/../../scripts/lib.sh" || exit 1
mkdir -p "${1:-$DROVER_ROOT/build/peers}"
cd "${1:-$DROVER_ROOT/build/peers}"

readonly VERSION=0.3.36
readonly SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly ARCHIVE="llama_cpp_python-$VERSION.tar.gz"
readonly GGUF=llama-1.1b-bf16.gguf

fetch() {
  [[ -f $ARCHIVE ]] || python3 -m pip download --quiet --no-deps \
    --no-binary=:all: "llama-cpp-python==$VERSION"
  sha256sum --check --quiet <<<"$SHA256  $ARCHIVE"
  tar xzf "$ARCHIVE"
}

# GGML_NATIVE would pick AMX, which crashes; so the flags are named one by one.
cpu_flags() {
  local flag
  for flag in avx512f:AVX512 avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16 \
    avx512_vbmi:AVX512_VBMI; do
    if grep -qw "${flag%:*}" /proc/cpuinfo; then
      echo "-DGGML_${flag#*:}=ON"
    fi
  done
}

build() {
  local flags
  mapfile -t flags < <(cpu_flags)
  run_logged "$(log_file llama-cpp)" \
    cmake -S "llama_cpp_python-$VERSION/vendor/llama.cpp" -B . -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF "${flags[@]}" \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
  run_logged "$(log_file llama-cpp)" \
    cmake --build . --target llama-bench llama-batched-bench
}

make_gguf() {
  python3 -m venv venv
  venv/bin/pip install --quiet gguf==0.17.1
  venv/bin/python "$DROVER_ROOT/bench/peers/make_random_gguf.py" "$GGUF"
}

[[ -d llama_cpp_python-$VERSION ]] || stage "fetching llama.cpp" fetch
[[ -x bin/llama-batched-bench ]] || stage "building llama.cpp" build
[[ -f $GGUF ]] || stage "making $GGUF" make_gguf
