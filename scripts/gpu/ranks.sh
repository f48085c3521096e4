#!/usr/bin/env bash
# What several shards say together is what one says, also if they come to a
# rendezvous, and the loss of one, dead or stopped, ends requests and all programs.
#
#   scripts/gpu/ranks.sh [SHARDS]      default: 2, each with a GPU of its own
#
# $DROVER_RANKS_DEVICE (default cuda) is the shards' --device. With
# DROVER_RANKS_PER_GPU=2 two shards share a GPU.

source "$(dirname "$0")/env.sh" || exit 1
source "$DROVER_ROOT/scripts/serving.sh"

readonly SHARDS="${1:-2}" DEVICE="${DROVER_RANKS_DEVICE:-cuda}"
readonly PROMPTS=("Once upon a time" "The old king looked at the sea and")

# start SERVE_OPTION ...
start() {
  start_server "$GPU_DIR/bin" --model="$DROVER_ROOT/models/fables-7m" \
    --device="$DEVICE" --max-batch-size=8 --kv-cache-bytes=67108864 "$@"
}

generate() {
  "$GPU_DIR/bin/drover" generate --address="127.0.0.1:$grpc_port" --quiet "$@"
}

# texts NUM_SHARDS [SERVE_OPTION ...]: float32, so that the order of adding
# changes no token.
texts() {
  local prompt
  start --num-shard="$1" --dtype=float32 "${@:2}" >&2
  for prompt in "${PROMPTS[@]}"; do
    generate --max-new-tokens=60 "$prompt"
    generate --max-new-tokens=60 --temperature=0.8 --seed=7 "$prompt"
  done
  stop_server
}

# texts_at_rendezvous: the same of shards that were started by themselves.
texts_at_rendezvous() {
  local rank port shard_pids=()
  port="$(outer_python -c 'import socket
with socket.create_server(("127.0.0.1", 0)) as s: print(s.getsockname()[1])')"
  for ((rank = 0; rank < SHARDS; ++rank)); do
    CUDA_VISIBLE_DEVICES="$rank" "$GPU_DIR/bin/drover-shard" \
      --model="$DROVER_ROOT/models/fables-7m" --device="$DEVICE" \
      --rank="$rank" --world-size="$SHARDS" \
      --rendezvous="127.0.0.1:$port" --rendezvous-insecure \
      >"shard-$rank.log" 2>&1 &
    shard_pids+=($!)
  done
  texts "$SHARDS" --rendezvous="127.0.0.1:$port" --rendezvous-insecure
  wait "${shard_pids[@]}" || die "a shard at the rendezvous ended with an error"
}

# lose_a_rank SIGNAL: to the last one, while it computes for a client.
lose_a_rank() {
  local client code=0 last pid
  start --num-shard="$SHARDS" --shard-patience-seconds=2
  generate --max-new-tokens=480 --min-new-tokens=480 "A long story" \
    >"$1.text" 2>"$1.error" &
  client=$!
  until [[ -s $1.text ]]; do sleep 0.01; done
  last="$(pgrep -P "$server_pid" -f -- "--rank=$((SHARDS - 1))")"
  kill -"$1" "$last"
  wait "$client" || code=$?
  ((code != 0)) || die "$1: the client got its whole answer"
  pid="$server_pid" server_pid="" code=0
  wait "$pid" || code=$?
  ((code == 1)) || die "$1: the server ended with code $code" "see $server_log"
  ! pgrep -f "$GPU_DIR/bin/drover-shard" >/dev/null ||
    die "$1: a shard is left behind"
  say "$1: $(head -n 1 "$1.error")"
}

folder="$(mktemp -d)"
trap 'stop_server; rm -rf "$folder"' EXIT
cd "$folder"
texts 1 >one.txt
texts "$SHARDS" >several.txt
diff one.txt several.txt || die "$SHARDS shards say something else than one"
texts_at_rendezvous >rendezvous.txt
diff one.txt rendezvous.txt ||
  die "$SHARDS shards at a rendezvous say something else than one"
say "$SHARDS shards say what one says"
lose_a_rank KILL
lose_a_rank STOP
