#!/usr/bin/env bash
# Proves a command of the README on a bare Debian: makes one with debootstrap in
# a temporary folder, puts a clone of HEAD into it, and runs the command there.
# As root; needs debootstrap.
#
#   scripts/prove_bare.sh SUITE COMMAND ...
#
#   scripts/prove_bare.sh bookworm scripts/demo.sh
#   scripts/prove_bare.sh bookworm scripts/test.sh
#   scripts/prove_bare.sh trixie scripts/demo.sh

source "$(dirname "$0")/lib.sh" || exit 1

(($# > 1)) || die "a suite and a command are needed" \
  "scripts/prove_bare.sh bookworm scripts/demo.sh"
command -v debootstrap >/dev/null ||
  die "debootstrap is missing" "apt-get install debootstrap"
[[ $EUID == 0 ]] || die "chroot is for root"
readonly SUITE="$1"
shift

bare="$(mktemp -d)"
cleanup() {
  umount --lazy "$bare/dev" "$bare/proc" 2>/dev/null || true
  rm -rf --one-file-system "$bare"
}
trap cleanup EXIT

stage "making a bare $SUITE" run_logged "$(log_file "debootstrap-$SUITE")" \
  debootstrap --variant=minbase "$SUITE" "$bare"
cp /etc/resolv.conf "$bare/etc/"
mount -t proc proc "$bare/proc"
mount --rbind /dev "$bare/dev"
mount --make-rslave "$bare/dev"
git clone --quiet "$DROVER_ROOT" "$bare/root/drover"
# For a network that has an authority of its own.
if [[ -n ${PIP_CERT:-} ]]; then
  cp "$PIP_CERT" "$bare/root/authorities.crt"
fi
stage "in a bare $SUITE: $*" chroot "$bare" /usr/bin/env -i HOME=/root \
  PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  ${PIP_CERT:+PIP_CERT=/root/authorities.crt} \
  bash -c 'cd /root/drover && "$@"' bash "$@"
