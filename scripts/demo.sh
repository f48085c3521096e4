#!/usr/bin/env bash
# Installs what is missing, builds, starts the server on the demo model,
# streams a story into the terminal, and stops the server again.
#
#   scripts/demo.sh ["How the story begins"] [GENERATE_OPTION ...]

source "$(dirname "$0")/lib.sh" || exit 1
source "$DROVER_ROOT/scripts/serving.sh"
cd "$DROVER_ROOT"

readonly PROMPT="${1:-Once upon a time}"
shift || true
# An option counts once: the story has 200 tokens unless the caller says more or
# fewer.
[[ " $*" == *" --max-new-tokens"* ]] || set -- --max-new-tokens 200 "$@"

scripts/setup.sh build
stage "building (preset release)" \
  configure_and_build release drover drover-shard

trap stop_server EXIT
start_server build/release/bin --model models/fables-7m
say "a story, as it comes:"
build/release/bin/drover generate --address "127.0.0.1:$grpc_port" \
  "$@" "$PROMPT"
echo
stop_server

say "the server stopped cleanly; to start it yourself:"
echo "    build/release/bin/drover serve --model models/fables-7m"
echo "    build/release/bin/drover generate \"$PROMPT\""
