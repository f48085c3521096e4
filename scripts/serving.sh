# shellcheck shell=bash
# Sourced after lib.sh: a server for as long as a script runs. stop_server
# belongs into the script's EXIT trap.

server_pid=""
server_log=""
grpc_port="" # of the running server
http_port=""

# start_server BIN_FOLDER SERVE_OPTION ...: on free ports; returns when it is
# ready.
start_server() {
  local started=$SECONDS ready_file bin="$1"
  shift
  server_log="$(log_file server)"
  ready_file="$(mktemp -u)"
  say "starting the server"
  "$bin/drover" serve "$@" --host 127.0.0.1 --grpc-port 0 --port 0 \
    --ready-file "$ready_file" >"$server_log" 2>&1 &
  server_pid=$!
  until [[ -s "$ready_file" ]]; do
    if ! kill -0 "$server_pid" 2>/dev/null; then
      server_pid=""
      tail -n 5 "$server_log" >&2
      die "the server ended before it was ready" "see $server_log"
    fi
    ((SECONDS - started < 180)) ||
      die "the server was not ready within 180 s" "see $server_log"
    sleep 0.05
  done
  grpc_port="$(sed -E 's/.*"grpc_port" *: *([0-9]+).*/\1/' "$ready_file")"
  # shellcheck disable=SC2034 # for those who source this
  http_port="$(sed -E 's/.*"http_port" *: *([0-9]+).*/\1/' "$ready_file")"
  rm -f "$ready_file"
  say "the server is ready on port $grpc_port ($((SECONDS - started)) s)"
}

# Sends SIGTERM and insists on a clean end.
stop_server() {
  [[ -n "$server_pid" ]] || return 0
  local pid="$server_pid" code=0
  server_pid=""
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || code=$?
  ((code == 0)) || die "the server ended with code $code" "see $server_log"
}
