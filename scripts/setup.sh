#!/usr/bin/env bash
# Installs what building Drover needs and is missing. Works again when run
# twice, and then takes about a second.
#
#   scripts/setup.sh [build|test|fuzz|check|tidy]
#
#   build  compiler and libraries, LibTorch, sentencepiece (the default)
#   test   build, and what the tests need
#   fuzz   test, and clang with libFuzzer
#   check  fuzz, clang-format 14 and shellcheck
#   tidy   check, and clang with clang-tidy
#
# Environment:
#   DROVER_CACHE_DIR       where LibTorch and sentencepiece are kept
#                          (default ${XDG_CACHE_HOME:-~/.cache}/drover)
#   DROVER_KEEP_DOWNLOADS  1 keeps the downloaded archives (about 550 MB)
#   CMAKE_PREFIX_PATH      a LibTorch found here is used instead of PyPI's

source "$(dirname "$0")/lib.sh" || exit 1
source "$DROVER_ROOT/scripts/packages.sh"

readonly PYTHON=/usr/bin/python3 # Debian's, whatever else is in PATH
readonly TORCH_DIR="$CACHE_DIR/libtorch-2.11.0"
readonly SENTENCEPIECE_DIR="$CACHE_DIR/sentencepiece-0.2.1"
work_dir=""

main() {
  local -a wanted
  read_purpose "${1:-build}"
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  if ((${#missing[@]} > 0)); then
    stage "installing ${#missing[@]} packages with apt: ${missing[*]}" \
      install_packages "${missing[@]}"
  fi
  trap 'rm -rf "$work_dir"' EXIT
  if ! has_libtorch; then
    stage "fetching LibTorch 2.11.0 (one 530 MB wheel) into $TORCH_DIR" \
      fetch_libtorch
  fi
  if ! has_sentencepiece; then
    stage "building sentencepiece 0.2.1 into $SENTENCEPIECE_DIR" \
      build_sentencepiece
  fi
  say "set-up is complete ($SECONDS s)"
}

# Fills `wanted` with the packages of a purpose.
read_purpose() {
  wanted=("${BUILD_PACKAGES[@]}")
  case "$1" in
    build) ;;
    test) wanted+=("${TEST_PACKAGES[@]}") ;;
    fuzz) wanted+=("${TEST_PACKAGES[@]}" "${FUZZ_PACKAGES[@]}") ;;
    check) wanted+=("${TEST_PACKAGES[@]}" "${FUZZ_PACKAGES[@]}"
      "${LINT_PACKAGES[@]}") ;;
    tidy) wanted+=("${TEST_PACKAGES[@]}" "${FUZZ_PACKAGES[@]}"
      "${LINT_PACKAGES[@]}" "${TIDY_PACKAGES[@]}") ;;
    *) die "no such purpose: $1" "one of: build, test, fuzz, check, tidy" ;;
  esac
}

# --- Debian packages ---------------------------------------------------------

missing_packages() {
  if ! command -v dpkg-query >/dev/null; then
    printf '%s\n' "$@"
    return
  fi
  local installed
  installed="$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" \
    2>/dev/null || true)"
  local package
  for package in "$@"; do
    grep -qxF "installed $package" <<<"$installed" || echo "$package"
  done
}

install_packages() {
  command -v apt-get >/dev/null ||
    die "this is no Debian or Ubuntu: apt-get is missing" \
      "what has to be installed: $*"
  local -a as_root=(env DEBIAN_FRONTEND=noninteractive)
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "packages are missing, and there is neither root nor sudo" \
        "as root: apt-get install --no-install-recommends $*"
    as_root=(sudo "${as_root[@]}")
  fi
  local log
  log="$(log_file apt)"
  run_logged "$log" "${as_root[@]}" apt-get update
  run_logged "$log" "${as_root[@]}" apt-get install -y \
    --no-install-recommends "$@"
}

# --- what PyPI publishes -----------------------------------------------------

# download NAME FOLDER PIP_OPTION ...: the archive that
# scripts/requirements/NAME.txt pins by hash.
download() {
  local name="$1" folder="$2"
  shift 2
  "$PYTHON" -m pip download --quiet --disable-pip-version-check \
    --no-cache-dir --no-deps --require-hashes --dest "$folder" "$@" \
    -r "$DROVER_ROOT/scripts/requirements/$name.txt" ||
    die "cannot download $name" \
      "it comes from PyPI through pip: is there a network?"
}

downloads_dir() {
  if [[ "${DROVER_KEEP_DOWNLOADS:-0}" == 1 ]]; then
    mkdir -p "$CACHE_DIR/downloads"
    echo "$CACHE_DIR/downloads"
  else
    mkdir -p "$work_dir/downloads"
    echo "$work_dir/downloads"
  fi
}

# A folder beside the final one, so that what is finished can be renamed into
# place: a set-up that was interrupted leaves nothing half done.
make_work_dir() {
  mkdir -p "$CACHE_DIR"
  [[ -n "$work_dir" ]] || work_dir="$(mktemp -d "$CACHE_DIR/setup.XXXXXX")"
}

# --- LibTorch ----------------------------------------------------------------

has_libtorch() {
  [[ -f "$TORCH_DIR/torch/lib/libtorch_cpu.so" ]] && return 0
  local prefix
  local -a prefixes
  IFS=':;' read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    if [[ -f "$prefix/include/torch/headeronly/version.h" &&
      -f "$prefix/lib/libtorch_cpu.so" ]]; then
      say "using the LibTorch in $prefix"
      return 0
    fi
  done
  return 1
}

# The wheel holds CUDA's side too; only what a CPU shard links is unpacked.
# Of CUDA itself libtorch_cpu.so needs two small libraries, GPU or not.
fetch_libtorch() {
  [[ "$(uname -m)" == x86_64 ]] ||
    die "the pinned LibTorch is for x86_64, this machine is $(uname -m)" \
      "name a LibTorch 2.11 of your own in CMAKE_PREFIX_PATH"
  make_work_dir
  need_free_space 2000
  local downloads tree="$work_dir/libtorch"
  downloads="$(downloads_dir)"
  local -a wheel=(--only-binary=:all: --python-version 3.12)
  download torch "$downloads" "${wheel[@]}" --platform manylinux_2_28_x86_64
  download cuda-runtime "$downloads" "${wheel[@]}" \
    --platform manylinux2014_x86_64
  download cuda-cupti "$downloads" "${wheel[@]}" \
    --platform manylinux_2_25_x86_64
  unzip -q "$downloads"/torch-2.11.0-*.whl 'torch/include/*' \
    torch/lib/libc10.so torch/lib/libtorch_cpu.so 'torch/lib/libgomp*' \
    -d "$tree"
  unzip -q "$downloads"/nvidia_cuda_runtime-*.whl \
    nvidia/cu13/lib/libcudart.so.13 -d "$tree"
  unzip -q "$downloads"/nvidia_cuda_cupti-*.whl \
    nvidia/cu13/lib/libcupti.so.13 -d "$tree"
  rm -rf "$TORCH_DIR"
  mv "$tree" "$TORCH_DIR"
}

need_free_space() {
  local free_mb
  free_mb="$(df --output=avail -m "$CACHE_DIR" | tail -n 1)"
  ((free_mb >= $1)) ||
    die "$CACHE_DIR has $free_mb MB free, LibTorch needs $1 MB meanwhile" \
      "DROVER_CACHE_DIR names another place"
}

# --- sentencepiece -----------------------------------------------------------

# The library holds code that this machine's protoc generated, so it is built
# again when the system's protobuf changes.
has_sentencepiece() {
  [[ -f "$SENTENCEPIECE_DIR/lib/libsentencepiece.a" ]] &&
    [[ "$(cat "$SENTENCEPIECE_DIR/protobuf-version" 2>/dev/null)" == \
      "$(protoc --version)" ]]
}

build_sentencepiece() {
  make_work_dir
  local downloads source="$work_dir/sentencepiece-0.2.1/sentencepiece"
  local build="$work_dir/build" tree="$work_dir/sentencepiece"
  local log
  log="$(log_file sentencepiece)"
  downloads="$(downloads_dir)"
  download sentencepiece "$downloads" --no-binary=:all: --no-build-isolation
  tar -xzf "$downloads/sentencepiece-0.2.1.tar.gz" -C "$work_dir"
  run_logged "$log" cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DSPM_ENABLE_SHARED=OFF \
    -DSPM_PROTOBUF_PROVIDER=package -DSPM_ABSL_PROVIDER=internal \
    -DSPM_ENABLE_TCMALLOC=OFF
  run_logged "$log" cmake --build "$build" --target sentencepiece-static
  install -D -m 644 "$build/src/libsentencepiece.a" \
    "$tree/lib/libsentencepiece.a"
  install -D -m 644 "$source/src/sentencepiece_processor.h" \
    "$tree/include/sentencepiece_processor.h"
  install -D -m 644 "$source/LICENSE" "$tree/LICENSE"
  protoc --version >"$tree/protobuf-version"
  rm -rf "$SENTENCEPIECE_DIR"
  mv "$tree" "$SENTENCEPIECE_DIR"
}

cd "$DROVER_ROOT"
main "$@"
