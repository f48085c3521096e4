#!/usr/bin/env bash
# The CPU's speed through gRPC, against the machine's memory bandwidth and
# against llama.cpp on the same shape, as in docs/benchmarks/cpu.md. Wants a
# machine where nothing else runs.
#
#   bench/cpu.sh

source "$(dirname "$0")/../scripts/lib.sh" || exit 1
source "$DROVER_ROOT/scripts/serving.sh"
cd "$DROVER_ROOT"

readonly PROMPT_TOKENS=512 OUTPUT_TOKENS=64 BATCHES=(1 4 16) ROUNDS=3
readonly BIN=build/release/bin PEER=build/peers
report="$(mktemp -d)"
trap 'stop_server; rm -rf "$report"' EXIT

# bench NAME MODE OPTION ...: drover bench, its JSON in the report's folder.
bench() {
  local name="$1"
  shift
  "$BIN/drover" bench "$@" --address "127.0.0.1:$grpc_port" \
    --json "$report/$name.json" >/dev/null 2>"$report/log"
}

# figure NAME EXPRESSION: of a JSON report `r`.
figure() {
  python3 -c "import json
r = json.load(open('$report/$1.json'))
print(format($2, '.1f'))"
}

# measure SERVE_OPTION ...: a row for each figure.
measure() {
  start_server "$BIN" "$@" >/dev/null
  bench prefill latency --input-len "$PROMPT_TOKENS" --output-len 1 \
    --num-requests 8
  echo "| prefill of $PROMPT_TOKENS | $(figure prefill \
    "$PROMPT_TOKENS / r['ttft_ms']['p50'] * 1e3") tokens/s |"
  local batch
  for batch in "${BATCHES[@]}"; do
    bench "decode-$batch" throughput --streams "$batch" \
      --num-requests "$((2 * batch))" --warmup "$batch" --input-len 16 \
      --output-len "$OUTPUT_TOKENS"
    echo "| decode, $batch at once | $(figure "decode-$batch" \
      "$batch / r['tpot_ms']['mean'] * 1e3") tokens/s |"
  done
  stop_server >/dev/null
}

first_token() {
  local begin=$EPOCHREALTIME
  start_server "$BIN" --model models/fables-7m >/dev/null
  "$BIN/drover" generate --address "127.0.0.1:$grpc_port" --quiet \
    --max-new-tokens 1 "Once upon a time" >/dev/null
  python3 -c "print(format($EPOCHREALTIME - $begin, '.2f'), 's')"
  stop_server >/dev/null
}

measure_peer() {
  "$PEER/bin/llama-bench" -m "$PEER/llama-1.1b-bf16.gguf" -t "$(nproc)" \
    -p "$PROMPT_TOKENS" -n "$OUTPUT_TOKENS" -r 3 2>/dev/null | grep -E 'pp|tg'
  "$PEER/bin/llama-batched-bench" -m "$PEER/llama-1.1b-bf16.gguf" \
    -t "$(nproc)" -c 2048 -npp 16 -ntg "$OUTPUT_TOKENS" -npl 1,4,16 \
    2>/dev/null | grep '^| '
}

stage "building" configure_and_build release drover drover-shard
stage "building the micro-benchmarks" \
  configure_and_build dev kernels_bench scheduler_bench
bench/peers/llama_cpp.sh "$PEER"

lscpu | grep -E '^(Model name|CPU\(s\)|L3)|Flags' |
  sed -E 's/^Flags.*(avx512_bf16).*/Flags: … \1 …/'
build/dev/bin/scheduler_bench --benchmark_filter=256 2>/dev/null
echo "start of the process to the demo model's first token, three times:"
first_token
first_token
first_token
say "fables-7m"
measure --model models/fables-7m
# In turn, since a shared machine's memory is faster at one time than another.
for ((round = 1; round <= ROUNDS; ++round)); do
  build/dev/bin/kernels_bench --benchmark_filter='BM_ReadBandwidth.*streams:4' 2>/dev/null |
    tail -n 1
  say "round $round: llama-1.1b, random bfloat16 weights"
  measure --load-format dummy --model-config llama-1.1b
  say "round $round: llama.cpp, llama-1.1b, bfloat16"
  measure_peer
done
