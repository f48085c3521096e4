# sentencepiece::sentencepiece: the static library that scripts/setup.sh builds
# from PyPI's source package. Debian's shared one exports a bundled protobuf
# 3.14 and aborts in a process that has gRPC.

find_path(Sentencepiece_INCLUDE_DIR sentencepiece_processor.h
  HINTS ${DROVER_CACHE_DIR}/sentencepiece-0.2.1 PATH_SUFFIXES include
  NO_CMAKE_SYSTEM_PATH)
find_library(Sentencepiece_LIBRARY libsentencepiece.a
  HINTS ${DROVER_CACHE_DIR}/sentencepiece-0.2.1 PATH_SUFFIXES lib
  NO_CMAKE_SYSTEM_PATH)
mark_as_advanced(Sentencepiece_INCLUDE_DIR Sentencepiece_LIBRARY)
if(NOT Sentencepiece_INCLUDE_DIR OR NOT Sentencepiece_LIBRARY)
  message(FATAL_ERROR
    "no static sentencepiece in ${DROVER_CACHE_DIR}: run scripts/setup.sh")
endif()
add_library(sentencepiece::sentencepiece STATIC IMPORTED)
set_target_properties(sentencepiece::sentencepiece PROPERTIES
  IMPORTED_LOCATION ${Sentencepiece_LIBRARY}
  INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${Sentencepiece_INCLUDE_DIR}
  INTERFACE_INCLUDE_DIRECTORIES ${Sentencepiece_INCLUDE_DIR}
  INTERFACE_LINK_LIBRARIES protobuf::libprotobuf)
