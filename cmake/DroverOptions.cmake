# What can be chosen, and what every target of ours is compiled with.

option(DROVER_BUILD_SHARD "Build what links LibTorch: model/ and drover-shard" ON)
option(DROVER_BUILD_TESTS "Build the tests" ON)
option(DROVER_BUILD_BENCHMARKS "Build the micro-benchmarks in bench/" OFF)
option(DROVER_ENABLE_CUDA "Build the CUDA device, with nvcc" OFF)
option(DROVER_FUZZ "Build tests/fuzz with libFuzzer, which needs clang" OFF)
option(DROVER_WERROR "Treat warnings in our code as errors" ON)
set(DROVER_SANITIZE "" CACHE STRING
  "Sanitizers for our code: address;undefined or thread")

# Where scripts/setup.sh keeps what no Debian package brings.
if(DEFINED ENV{DROVER_CACHE_DIR})
  set(_cache_dir $ENV{DROVER_CACHE_DIR})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache_dir $ENV{XDG_CACHE_HOME}/drover)
else()
  set(_cache_dir $ENV{HOME}/.cache/drover)
endif()
set(DROVER_CACHE_DIR ${_cache_dir} CACHE PATH
  "LibTorch and sentencepiece, as scripts/setup.sh leaves them")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LINK_DEPENDS_NO_SHARED ON)

find_program(CCACHE_PROGRAM ccache)
foreach(_language CXX CUDA)
  if(CCACHE_PROGRAM AND NOT CMAKE_${_language}_COMPILER_LAUNCHER)
    set(CMAKE_${_language}_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  endif()
endforeach()

# 90a: Hopper with its own instructions. Older ones, from 80, compile too and
# do without.
set(CMAKE_CUDA_ARCHITECTURES 90a CACHE STRING
  "GPU architectures to compile for, as CMake spells them")

# The system's Python comes first: it is the one that has Debian's packages.
find_program(DROVER_PYTHON python3 HINTS /usr/bin)
mark_as_advanced(DROVER_PYTHON)

# drover_compile_options: the warnings and sanitizers of our own targets.
add_library(drover_compile_options INTERFACE)
target_include_directories(drover_compile_options INTERFACE
  ${PROJECT_SOURCE_DIR})
set(_cxx_warnings
  -Wall -Wextra -Wpedantic -Wnon-virtual-dtor
  # Designated initialisers leave fields at their defaults on purpose.
  -Wno-missing-field-initializers
  -Woverloaded-virtual
  $<$<BOOL:${DROVER_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
target_compile_options(drover_compile_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${_cxx_warnings}>"
  # What nvcc generates for the host would not pass -Wpedantic.
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>"
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${DROVER_WERROR}>>:-Werror=all-warnings>)
target_link_options(drover_compile_options INTERFACE
  $<$<CONFIG:Release>:LINKER:--strip-all>)
target_compile_definitions(drover_compile_options INTERFACE
  DROVER_VERSION="${PROJECT_VERSION}")
if(DROVER_SANITIZE)
  list(JOIN DROVER_SANITIZE "," _sanitizers)
  target_compile_options(drover_compile_options INTERFACE
    -fsanitize=${_sanitizers} -fno-omit-frame-pointer
    -fno-sanitize-recover=all
    # GCC takes a sanitizer's own bookkeeping for reads of what is not set.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(drover_compile_options INTERFACE
    -fsanitize=${_sanitizers})
endif()
if(DROVER_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "DROVER_FUZZ needs clang++, not ${CMAKE_CXX_COMPILER}")
  endif()
  target_compile_options(drover_compile_options INTERFACE
    -fsanitize=fuzzer-no-link)
endif()
