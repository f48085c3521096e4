#!/usr/bin/env bash
# Runs the same with two packed builds in turn, since GPUs differ, and one GPU
# from minute to minute.
#
#   scripts/gpu/in_turn.sh OLD NEW ROUNDS COMMAND ...
#
# OLD, NEW: folders that scripts/gpu/pack.sh filled. COMMAND: a packed program, or
# a script of this folder, by its name. For example:
#
#   scripts/gpu/in_turn.sh build/gpu-old build/gpu 3 \
#     cuda_model_bench llama-3.1-8b 64 128 60
#   scripts/gpu/in_turn.sh build/gpu-old build/gpu 2 bench.sh 8b-64x128

source "$(dirname "$0")/../lib.sh" || exit 1
cd "$DROVER_ROOT"

(($# >= 4)) || die "four arguments at least: OLD NEW ROUNDS COMMAND"
readonly OLD="$1" NEW="$2" ROUNDS="$3"
shift 3

# run_with FOLDER COMMAND ...
run_with() {
  export DROVER_GPU_DIR="$1"
  shift
  if [[ -x scripts/gpu/$1 ]]; then
    "scripts/gpu/$1" "${@:2}"
  else
    # shellcheck disable=SC2016 # expanded by the inner shell
    bash -c 'source scripts/gpu/env.sh; "$GPU_DIR/bin/$1" "${@:2}"' bash "$@"
  fi
}

for ((round = 1; round <= ROUNDS; ++round)); do
  for folder in "$OLD" "$NEW"; do
    (run_with "$(realpath "$folder")" "$@") 2>&1 | sed "s|^|$folder: |"
  done
done
