# shellcheck shell=bash disable=SC2154 # grpc_port and others are serving.sh's
# Sourced by bench.sh: the case 7b-start. How long from the start of the server's
# process, its weights in safetensors files in the page cache, to a client that
# has read its first token?

readonly START_FOLDER="${DROVER_START_FOLDER:-$GPU_DIR/llama-2-7b}"
readonly START_ROUNDS=3
# Words for write_checkpoint.py, for trials.
read -ra START_CHECKPOINT <<<"${DROVER_START_CHECKPOINT:-}"
readonly START_CHECKPOINT

first_token() {
  "$GPU_DIR/bin/drover" bench latency --num-requests=1 --warmup=0 \
    --input-len=16 --output-len=1 --address="127.0.0.1:$grpc_port" \
    --json="$BENCH_DIR/7b-start.json" >"$BENCH_DIR/7b-start.log" 2>&1 ||
    die "no first token" "see $BENCH_DIR/7b-start.log"
}

run_start() {
  local round begin end
  [[ -d $START_FOLDER ]] || stage "writing $START_FOLDER" \
    outer_python scripts/gpu/write_checkpoint.py "$START_FOLDER" \
    "${START_CHECKPOINT[@]}"
  say "reading it into the page cache"
  cat "$START_FOLDER"/*.safetensors >/dev/null
  for ((round = 1; round <= START_ROUNDS; ++round)); do
    begin=$EPOCHREALTIME
    start_case --model="$START_FOLDER" --max-batch-size=8 \
      --max-sequence-length=4096 --max-step-tokens=2048
    first_token
    end=$EPOCHREALTIME
    grep -E 'stage=|loaded model=' "$server_log"
    outer_python -c 'import sys
print("7b-start %s: %.2f s from the start of the process to the first token"
      % (sys.argv[1], float(sys.argv[3]) - float(sys.argv[2])))' \
      "$round" "$begin" "$end"
    ((round == START_ROUNDS)) || stop_server
  done
}
