#!/usr/bin/env bash
# Installs a build into a temporary folder, moves the tree, and proves that it
# runs from there: libraries of its own, the demo model, a clean stop.
#
#   scripts/check_install.sh BUILD_FOLDER

source "$(dirname "$0")/lib.sh" || exit 1
source "$DROVER_ROOT/scripts/serving.sh"

readonly BUILD="${1:?which build folder?}"
work="$(mktemp -d)"
cleanup() {
  stop_server
  rm -rf "$work"
}
trap cleanup EXIT

cmake --install "$BUILD" --prefix "$work/first" >/dev/null
mkdir "$work/second"
mv "$work/first" "$work/second/drover"
readonly TREE="$work/second/drover"

libraries="$(ldd "$TREE/bin/drover" "$TREE/bin/drover-shard")"
! grep -q 'not found' <<<"$libraries" ||
  die "the installed programs miss libraries" "$libraries"
# ldd gives paths as the programs ask for them, with bin/.. in them.
torch="$(awk '/lib(torch_cpu|c10|cudart|cupti)/ { print $3 }' <<<"$libraries" |
  xargs readlink -f)"
strays="$(grep -vF "$(readlink -f "$TREE")/lib/drover/" <<<"$torch" || true)"
[[ -z "$strays" ]] ||
  die "the installed drover-shard loads libraries of the build" "$strays"

cd /
"$TREE/bin/drover" --version
"$TREE/bin/drover-shard" --version
"$TREE/bin/text-generation-launcher" --version
"$TREE/bin/text-generation-server" download-weights \
  "$TREE/share/drover/models/fables-7m"
start_server "$TREE/bin" --model "$TREE/share/drover/models/fables-7m"
text="$("$TREE/bin/drover" generate --address "127.0.0.1:$grpc_port" \
  --max-new-tokens 8 "Once upon a time")"
[[ -n "$text" ]] || die "the installed server generated no text"
stop_server
say "the installed tree runs: $(du -sh "$TREE" | cut -f 1) ($SECONDS s)"
