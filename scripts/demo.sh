#!/usr/bin/env bash
# Installs what is missing, builds, starts the server on the demo model,
# streams a story into the terminal, and stops the server again.
#
#   scripts/demo.sh ["How the story begins"] [GENERATE_OPTION ...]

source "$(dirname "$0")/lib.sh"
cd "$DROVER_ROOT"

readonly BIN="$DROVER_ROOT/build/release/bin"
readonly PROMPT="${1:-Once upon a time}"
shift || true
server_pid=""

main() {
  scripts/setup.sh build
  stage "building (preset release)" \
    configure_and_build release drover drover-shard
  trap stop_server EXIT
  start_server
  say "$PROMPT ..."
  "$BIN/drover" generate --address "localhost:$grpc_port" \
    --max-new-tokens 200 "$@" "$PROMPT"
  echo
  stop_server
  say "the server stopped cleanly; this is how it is started:"
  echo "    build/release/bin/drover serve --model models/fables-7m"
  echo "    build/release/bin/drover generate \"Once upon a time\""
}

start_server() {
  local started=$SECONDS
  log="$(log_file demo-server)"
  free_port 8033
  grpc_port=$port
  free_port $((grpc_port >= 3000 && grpc_port < 3100 ? grpc_port + 1 : 3000))
  local http_port=$port
  say "starting the server (gRPC on $grpc_port, HTTP on $http_port)"
  "$BIN/drover" serve --model models/fables-7m --host 127.0.0.1 \
    --grpc-port "$grpc_port" --port "$http_port" >"$log" 2>&1 &
  server_pid=$!
  until is_ready "$http_port"; do
    if ! kill -0 "$server_pid" 2>/dev/null; then
      server_pid=""
      tail -n 5 "$log" >&2
      die "the server ended before it was ready" "see $log"
    fi
    ((SECONDS - started < 60)) ||
      die "the server was not ready within 60 s" "see $log"
    sleep 0.05
  done
  say "the server is ready"
}

# Sets `port` to the first one from $1 on that nobody listens on.
free_port() {
  for ((port = $1; port < $1 + 100; ++port)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  done
  die "no free port between $1 and $((port - 1))"
}

# Whether GET /health/ready answers 200.
is_ready() {
  local status
  status="$(
    exec 3<>"/dev/tcp/127.0.0.1/$1" 2>/dev/null || exit 0
    printf 'GET /health/ready HTTP/1.0\r\n\r\n' >&3
    head -n 1 <&3
  )" 2>/dev/null
  [[ "$status" == HTTP/*" 200 "* ]]
}

stop_server() {
  [[ -n "$server_pid" ]] || return 0
  local pid="$server_pid" code=0
  server_pid=""
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || code=$?
  ((code == 0)) || die "the server ended with code $code" "see $log"
}

main "$@"
