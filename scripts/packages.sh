# shellcheck shell=bash disable=SC2034
# Sourced by setup.sh: the Debian packages that each purpose needs. The names
# are the same on Debian 12, Debian 13 and Ubuntu 24.04.

# To fetch what PyPI publishes, and to build `drover` and `drover-shard`.
readonly BUILD_PACKAGES=(
  ca-certificates
  ccache
  cmake
  g++
  libabsl-dev
  libcivetweb-dev
  libcli11-dev
  libgrpc++-dev
  libicu-dev
  libpcre2-dev
  libprotobuf-dev
  libspdlog-dev
  libssl-dev
  ninja-build
  nlohmann-json3-dev
  prometheus-cpp-dev
  protobuf-compiler
  protobuf-compiler-grpc
  python3
  python3-pip
  python3-setuptools
  python3-wheel
  unzip
)

# To build and run the tests and the micro-benchmarks.
readonly TEST_PACKAGES=(
  binutils
  git
  iproute2
  libbenchmark-dev
  libgmock-dev
  libgtest-dev
  openssl
  python3-grpcio
  python3-protobuf
  python3-venv
)

# To check the format of C++ and the scripts; Debian 12 is where this is done.
readonly LINT_PACKAGES=(
  clang-format-14
  shellcheck
)

# To look for mistakes with clang-tidy.
readonly TIDY_PACKAGES=(
  clang
  clang-tidy
)

# To run the fuzz targets: clang's libFuzzer and sanitizers.
readonly FUZZ_PACKAGES=(
  clang
  libclang-rt-dev
  libomp-dev # clang's omp.h
)
