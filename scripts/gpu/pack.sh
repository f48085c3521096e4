#!/usr/bin/env bash
# Packs what a GPU machine needs that has LibTorch's and CUDA's libraries but
# none of ours: stripped programs of the cuda preset, and the shared libraries
# of this system that they load.
#
#   scripts/gpu/pack.sh [FOLDER]     default: build/gpu
#
# The folder gets bin/ and lib/; scripts/gpu/env.sh runs them from there.

source "$(dirname "$0")/../lib.sh" || exit 1
cd "$DROVER_ROOT"

folder="${1:-build/gpu}"
programs=(drover drover-shard cuda_model_test cuda_2_ranks_test
  cuda_attention_bench cuda_model_bench cuda_matmul_bench cuda_read_bandwidth)
# Only built where there is NCCL to compare with.
[[ ! -x build/cuda/bin/cuda_all_reduce_bench ]] ||
  programs+=(cuda_all_reduce_bench)
readonly programs

[[ -x build/cuda/bin/drover-shard ]] ||
  die "build/cuda holds no build" \
    "build it with: cmake --preset cuda && cmake --build build/cuda"
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib"
for program in "${programs[@]}"; do
  strip -o "$folder/bin/$program" "build/cuda/bin/$program"
done

cp build/cuda/bin/libkernel_trace.so "$folder/bin"

# What comes from LibTorch, CUDA or the C library is taken from over there.
for program in "${programs[@]}"; do
  ldd "build/cuda/bin/$program"
done | awk '$2 == "=>" && $3 ~ "^/" { print $3 }' | sort -u |
  grep -Ev '/(torch|nvidia|cuda)[^ ]*/lib|/lib(c|m|dl|rt|util|pthread|gomp|resolv)\.so' |
  xargs cp -Lt "$folder/lib"
strip --strip-unneeded "$folder"/lib/*
say "packed $(du -sh "$folder" | cut -f1) into $folder ($SECONDS s)"
