#!/usr/bin/env bash
# Measures the whole path through gRPC on this machine's GPU: random weights of
# the published shapes, a client on the same machine, one token per message.
#
#   scripts/gpu/bench.sh [CASE ...]     without cases: all for one GPU
#   scripts/gpu/bench.sh two-gpus       all for two
#
# Prints the client's report of each case and, last, a table with what the card
# could do at most; its JSON and the server's metrics go to $DROVER_BENCH_DIR
# (default build/gpu/bench). Words of $DROVER_SERVE_OPTIONS, each --flag=value,
# go to the server and take the place of a case's own.

source "$(dirname "$0")/env.sh" || exit 1
source "$DROVER_ROOT/scripts/serving.sh"

readonly ALL_CASES=(
  7b-latency 13b-latency 8b-latency
  8b-64x128 8b-3000x128 8b-1000x1000 8b-400x2048
  8b-poisson 8b-mixed 8b-idle 7b-start
  7b-transformers 13b-transformers 8b-transformers
)
# On two GPUs. The last two: 512 tokens in, 128 out.
readonly TWO_GPU_CASES=(2x7b-latency 2x70b-latency 2x70b-64 2x70b-256)
readonly BENCH_DIR="${DROVER_BENCH_DIR:-$GPU_DIR/bench}"
read -ra EXTRA_SERVE_OPTIONS <<<"${DROVER_SERVE_OPTIONS:-}"
readonly EXTRA_SERVE_OPTIONS

source "$DROVER_ROOT/scripts/gpu/mixed.sh"
source "$DROVER_ROOT/scripts/gpu/start.sh"
source "$DROVER_ROOT/scripts/gpu/idle.sh"

# start_case SERVE_OPTION ...: a server with these options, as far as
# $DROVER_SERVE_OPTIONS names no others.
start_case() {
  local option extra options=()
  for option in "$@"; do
    for extra in "${EXTRA_SERVE_OPTIONS[@]}"; do
      [[ ${extra%%=*} != "${option%%=*}" ]] || continue 2
      # A model's folder says its shape.
      [[ ${extra%%=*} != --model || $option != --model-config=* ]] ||
        continue 2
    done
    options+=("$option")
  done
  # However many GPUs the environment shows.
  [[ " ${options[*]} ${EXTRA_SERVE_OPTIONS[*]}" == *" --num-shard="* ]] ||
    options+=(--num-shard=1)
  start_server "$GPU_DIR/bin" "${options[@]}" "${EXTRA_SERVE_OPTIONS[@]}"
  grep -Ei 'gpu|ready|kv' "$server_log" | tail -n 8
}

# serve_options CASE, bench_options CASE: one word to a line.
serve_options() {
  case "$1" in
    7b-*) echo --model-config=llama-2-7b ;;
    13b-*) echo --model-config=llama-2-13b ;;
    8b-*) echo --model-config=llama-3.1-8b ;;
    2x7b-*) printf '%s\n' --model-config=llama-2-7b --num-shard=2 ;;
    2x70b-*) printf '%s\n' --model-config=llama-2-70b --num-shard=2 ;;
  esac
  case "$1" in
    *-latency) echo --max-batch-size=8 ;;
    *-3000x128) echo --max-batch-size=1536 ;;
    2x70b-64 | 2x70b-256) echo --max-batch-size="${1#*-}" ;;
    *) echo --max-batch-size=512 ;;
  esac
  case "$1" in
    *x128 | 2x70b-64 | 2x70b-256) echo --max-step-tokens=4096 ;;
    *) echo --max-step-tokens=2048 ;;
  esac
}

bench_options() {
  local requests="${1#*-}" length="${1##*x}"
  requests="${requests%x*}"
  case "$1" in
    *-latency) echo latency ;;
    2x70b-64 | 2x70b-256)
      printf '%s\n' throughput --streams="$requests" \
        --num-requests=1024 --warmup=8 --input-len=512 --output-len=128
      return
      ;;
    8b-poisson) # ten arrive each second, on average
      printf '%s\n' throughput --rate=10 --num-requests=150 --warmup=8 \
        --seed=1 --input-len=512 --output-len=128
      return
      ;;
    8b-64x128)
      printf '%s\n' throughput --streams=64 --num-requests=2048 --warmup=64
      ;;
    *)
      printf '%s\n' throughput --streams="$requests" \
        --num-requests="$requests" --warmup=64
      ;;
  esac
  [[ "$1" == *-latency ]] ||
    printf '%s\n' --input-len="$length" --output-len="$length"
}

# The peer of 7b-latency and so on. Words of $DROVER_PEER_OPTIONS go to it.
run_transformers() {
  local options shape
  read -ra options <<<"${DROVER_PEER_OPTIONS:-}"
  shape="$(serve_options "$1" | sed -n 's/--model-config=//p')"
  stage "$1: transformers' compiled static cache" \
    outer_python bench/peers/transformers_static.py \
    --shape "$shape" --json "$BENCH_DIR/$1.json" "${options[@]}"
}

# One client, one load.
run_load() {
  local serve bench
  mapfile -t serve < <(serve_options "$1")
  mapfile -t bench < <(bench_options "$1")
  start_case --load-format=dummy "${serve[@]}" --max-sequence-length=4096 \
    --max-new-tokens=2048 --max-concurrent-requests=4096
  stage "$1: drover bench ${bench[*]}" \
    "$GPU_DIR/bin/drover" bench "${bench[@]}" \
    --address="127.0.0.1:$grpc_port" --json="$BENCH_DIR/$1.json"
}

save_metrics() {
  outer_python -c 'import sys, urllib.request as r
sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())' \
    "http://127.0.0.1:$http_port/metrics" >"$BENCH_DIR/$1.metrics"
}

run_case() {
  case "$1" in
    8b-mixed) run_mixed ;;
    8b-idle) run_idle "$1" ;;
    7b-start) run_start ;;
    *-transformers) run_transformers "$1" ;;
    *) run_load "$1" ;;
  esac
  [[ -z $server_pid ]] || save_metrics "$1"
  stop_server
}

cases=("$@")
((${#cases[@]})) || cases=("${ALL_CASES[@]}")
[[ ${cases[*]} != two-gpus ]] || cases=("${TWO_GPU_CASES[@]}")
for case in "${cases[@]}"; do
  [[ " ${ALL_CASES[*]} ${TWO_GPU_CASES[*]} " == *" $case "* ]] ||
    die "there is no case $case" \
      "expected two-gpus or some of: ${ALL_CASES[*]} ${TWO_GPU_CASES[*]}"
done
trap stop_server EXIT
mkdir -p "$BENCH_DIR"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
bandwidth="$("$GPU_DIR/bin/cuda_read_bandwidth")"
say "$bandwidth"
for case in "${cases[@]}"; do
  run_case "$case"
done
outer_python scripts/gpu/bench_table.py "$BENCH_DIR" "$bandwidth" "${cases[@]}"
