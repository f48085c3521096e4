# PCRE2::pcre2: the 8-bit library, which Debian packages without a file for
# CMake. Boolean properties such as \p{White_Space} came with 10.40.

find_path(PCRE2_INCLUDE_DIR pcre2.h)
find_library(PCRE2_LIBRARY pcre2-8)
mark_as_advanced(PCRE2_INCLUDE_DIR PCRE2_LIBRARY)

set(PCRE2_VERSION "")
if(PCRE2_INCLUDE_DIR)
  foreach(_part MAJOR MINOR)
    file(STRINGS ${PCRE2_INCLUDE_DIR}/pcre2.h _line
      REGEX "^#define PCRE2_${_part} +[0-9]+")
    string(REGEX MATCH "[0-9]+$" _number "${_line}")
    list(APPEND PCRE2_VERSION ${_number})
  endforeach()
  list(JOIN PCRE2_VERSION "." PCRE2_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(PCRE2
  REQUIRED_VARS PCRE2_LIBRARY PCRE2_INCLUDE_DIR
  VERSION_VAR PCRE2_VERSION)

if(PCRE2_FOUND AND NOT TARGET PCRE2::pcre2)
  add_library(PCRE2::pcre2 UNKNOWN IMPORTED)
  set_target_properties(PCRE2::pcre2 PROPERTIES
    IMPORTED_LOCATION ${PCRE2_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${PCRE2_INCLUDE_DIR})
endif()
