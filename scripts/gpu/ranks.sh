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

# All ranks' tokens are compared in each step.
export DROVER_VALIDATE_RANKS=1
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

# texts START_FUNCTION OPTION ...: float32, so that the order of adding changes no
# token.
texts() {
  local prompt
  "$@" --dtype=float32 >&2
  for prompt in "${PROMPTS[@]}"; do
    generate --max-new-tokens=60 "$prompt"
    generate --max-new-tokens=60 --temperature=0.8 --seed=7 "$prompt"
  done
  stop_server
}

# start_at_rendezvous SERVE_OPTION ...: a server for shards that were started by
# themselves.
start_at_rendezvous() {
  local rank port
  shard_pids=()
  port="$(outer_python -c 'import socket
with socket.create_server(("127.0.0.1", 0)) as s: print(s.getsockname()[1])')"
  for ((rank = 0; rank < SHARDS; ++rank)); do
    CUDA_VISIBLE_DEVICES="$((rank / ${DROVER_RANKS_PER_GPU:-1}))" \
      "$GPU_DIR/bin/drover-shard" \
      --model="$DROVER_ROOT/models/fables-7m" --device="$DEVICE" \
      --rank="$rank" --world-size="$SHARDS" \
      --rendezvous="127.0.0.1:$port" --rendezvous-insecure \
      >"shard-$rank.log" 2>&1 &
    shard_pids+=($!)
  done
  start --num-shard="$SHARDS" --rendezvous="127.0.0.1:$port" \
    --rendezvous-insecure "$@"
}

# lose_a_rank_at_rendezvous: the others must end by themselves.
lose_a_rank_at_rendezvous() {
  local client pid code=0
  start_at_rendezvous --shard-patience-seconds=2
  rm -f rendezvous.text
  generate --max-new-tokens=480 --min-new-tokens=480 "A long story" \
    >rendezvous.text 2>rendezvous.error &
  client=$!
  until [[ -s rendezvous.text ]]; do sleep 0.01; done
  kill -KILL "${shard_pids[-1]}"
  ! wait "$client" || die "the client got its whole answer"
  pid="$server_pid" server_pid=""
  wait "$pid" || code=$?
  ((code == 1)) || die "the server ended with code $code" "see $server_log"
  for pid in "${shard_pids[@]}"; do
    ! wait "$pid" || die "a shard ended well" "see shard-*.log in $PWD"
  done
  say "a rank lost at a rendezvous: $(head -n 1 rendezvous.error)"
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
texts start --num-shard=1 >one.txt
texts start --num-shard="$SHARDS" >several.txt
diff one.txt several.txt || die "$SHARDS shards say something else than one"
# As on one host, and as on several, for which NCCL wants a GPU for each.
ways=(false)
((${DROVER_RANKS_PER_GPU:-1} > 1)) || ways+=(true)
for by_nccl in "${ways[@]}"; do
  export DROVER_RANKS_BY_NCCL="$by_nccl"
  texts start_at_rendezvous >rendezvous.txt
  wait "${shard_pids[@]}" || die "a shard at the rendezvous ended with an error"
  diff one.txt rendezvous.txt ||
    die "$SHARDS shards at a rendezvous say something else than one"
  lose_a_rank_at_rendezvous
done
unset DROVER_RANKS_BY_NCCL
say "$SHARDS shards say what one says"
lose_a_rank KILL
lose_a_rank STOP
