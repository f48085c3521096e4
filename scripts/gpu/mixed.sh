# shellcheck shell=bash disable=SC2154 # grpc_port is serving.sh's
# Sourced by bench.sh: the case 8b-mixed. Streams run first alone, then while
# long prompts arrive one after the other; how much slower do their tokens come?

readonly MIXED_STREAMS="${DROVER_MIXED_STREAMS:-64}"
readonly MIXED_STREAM_TOKENS="${DROVER_MIXED_STREAM_TOKENS:-3072}"
readonly MIXED_PROMPTS="${DROVER_MIXED_PROMPTS:-30}"
readonly MIXED_PROMPT_TOKENS="${DROVER_MIXED_PROMPT_TOKENS:-16384}"
readonly MIXED_RATE="${DROVER_MIXED_RATE:-1}"

# mixed_client NAME OPTION ...: its report in the case's log, what it saw of
# each request in NAME.jsonl.
mixed_client() {
  local name="$1"
  shift
  "$GPU_DIR/bin/drover" bench throughput "$@" --warmup=0 \
    --address="127.0.0.1:$grpc_port" \
    --records="$BENCH_DIR/8b-mixed-$name.jsonl" \
    >>"$BENCH_DIR/8b-mixed.log" 2>&1 ||
    die "the client of $name failed" "see $BENCH_DIR/8b-mixed.log"
}

# mixed_streams NAME: all at once, and all equally long.
mixed_streams() {
  mixed_client "$1" --streams="$MIXED_STREAMS" \
    --num-requests="$MIXED_STREAMS" --input-len=128 \
    --output-len="$MIXED_STREAM_TOKENS"
}

mixed_streams_and_prompts() {
  mixed_streams with &
  local streams_pid=$!
  mixed_client prompts --rate="$MIXED_RATE" --evenly --seed=1 \
    --num-requests="$MIXED_PROMPTS" --input-len="$MIXED_PROMPT_TOKENS" \
    --output-len=1
  wait "$streams_pid"
}

run_mixed() {
  start_case --load-format=dummy --model-config=llama-3.1-8b \
    --max-batch-size=96 --max-sequence-length=16640 \
    --max-new-tokens=16384 --max-step-tokens=2048 \
    --max-concurrent-requests=4096
  : >"$BENCH_DIR/8b-mixed.log"
  stage "$MIXED_STREAMS streams of $MIXED_STREAM_TOKENS tokens, alone" \
    mixed_streams alone
  stage "the same, and $MIXED_PROMPTS prompts of $MIXED_PROMPT_TOKENS, $MIXED_RATE per second" \
    mixed_streams_and_prompts
  outer_python scripts/gpu/mixed_load.py "$BENCH_DIR/8b-mixed"
}
