# shellcheck shell=bash
# Sourced by the scripts beside it: runs what scripts/gpu/pack.sh packed, with
# the LibTorch and the CUDA of this machine's Python.

source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh" || exit 1
cd "$DROVER_ROOT"

readonly GPU_DIR="${DROVER_GPU_DIR:-$DROVER_ROOT/build/gpu}"
[[ -x $GPU_DIR/bin/drover-shard ]] ||
  die "nothing is packed in $GPU_DIR" "pack it with scripts/gpu/pack.sh"

# The folders with libtorch_cpu.so and with NVIDIA's libraries.
torch_library_path() {
  python3 - <<'PYTHON'
import glob, os, importlib.util
root = os.path.dirname(importlib.util.find_spec("torch").origin)
site = os.path.dirname(root)
print(":".join([root + "/lib"] + sorted(glob.glob(site + "/nvidia/*/lib"))))
PYTHON
}

# This machine's Python, with this machine's libraries.
OUTER_LIBRARY_PATH="${LD_LIBRARY_PATH:-}"
readonly OUTER_LIBRARY_PATH
outer_python() { LD_LIBRARY_PATH="$OUTER_LIBRARY_PATH" python3 "$@"; }

LD_LIBRARY_PATH="$GPU_DIR/lib:$(torch_library_path)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
DROVER_TEST_SOURCE_DIR="$DROVER_ROOT"
export LD_LIBRARY_PATH DROVER_TEST_SOURCE_DIR
