# LibTorch as imported targets, from a published wheel's torch/ folder or from
# anything with the same include/ and lib/. (The wheel's own TorchConfig.cmake
# fails without a CUDA toolkit.)
#
# Looked for in CMAKE_PREFIX_PATH, then in DROVER_CACHE_DIR where
# scripts/setup.sh unpacks it.
#
#   LibTorch::cpu    c10, torch_cpu; everything the CPU shard needs
#
# LibTorch_VERSION, LibTorch_LIBRARY_DIR, LibTorch_EXTRA_LIBRARIES (what a
# relocated install has to carry beside libtorch_cpu.so) are set.

find_path(LibTorch_INCLUDE_DIR torch/headeronly/version.h
  HINTS ${DROVER_CACHE_DIR}/libtorch-2.11.0/torch
  PATH_SUFFIXES include)
find_library(LibTorch_CPU_LIBRARY torch_cpu
  HINTS ${DROVER_CACHE_DIR}/libtorch-2.11.0/torch PATH_SUFFIXES lib)
find_library(LibTorch_C10_LIBRARY c10
  HINTS ${DROVER_CACHE_DIR}/libtorch-2.11.0/torch PATH_SUFFIXES lib)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY
  LibTorch_C10_LIBRARY)

set(LibTorch_VERSION "")
if(LibTorch_INCLUDE_DIR)
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h _line
      REGEX "#define TORCH_VERSION_${part} [0-9]+")
    string(REGEX MATCH "[0-9]+$" _number "${_line}")
    list(APPEND LibTorch_VERSION ${_number})
  endforeach()
  list(JOIN LibTorch_VERSION "." LibTorch_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE
    "run scripts/setup.sh, or name a LibTorch in CMAKE_PREFIX_PATH")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  get_filename_component(LibTorch_LIBRARY_DIR ${LibTorch_CPU_LIBRARY} DIRECTORY)
  # libtorch_cpu.so of the CUDA wheel needs two libraries of CUDA even where
  # there is no GPU; its RPATH finds them beside the wheel's folder.
  file(GLOB LibTorch_EXTRA_LIBRARIES
    ${LibTorch_LIBRARY_DIR}/libgomp*.so*
    ${LibTorch_LIBRARY_DIR}/../../nvidia/cu13/lib/libcudart.so.13
    ${LibTorch_LIBRARY_DIR}/../../nvidia/cu13/lib/libcupti.so.13)

  add_library(LibTorch::c10 UNKNOWN IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES
    IMPORTED_LOCATION ${LibTorch_C10_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${LibTorch_INCLUDE_DIR})
  add_library(LibTorch::cpu UNKNOWN IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES
    IMPORTED_LOCATION ${LibTorch_CPU_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${LibTorch_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES LibTorch::c10
    INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
endif()
