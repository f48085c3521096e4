# drover_library(name SOURCES ... [PUBLIC ...] [PRIVATE ...])
# One library target per folder, drover_<name>, known to others as
# drover::<name> (a typo then fails at configure time).
function(drover_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(drover_${name} STATIC ${ARG_SOURCES})
  add_library(drover::${name} ALIAS drover_${name})
  target_link_libraries(drover_${name}
    PUBLIC ${ARG_PUBLIC}
    PRIVATE drover_compile_options ${ARG_PRIVATE})
  target_include_directories(drover_${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()

# drover_test(name [LABEL unit] SOURCES ... LIBRARIES ...)
# One test program per folder, its tests shuffled by GoogleTest.
function(drover_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE drover_compile_options
    ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    DROVER_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name} --gtest_shuffle)
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 300
    ENVIRONMENT DROVER_VALIDATE_SCHEDULER=1)
endfunction()
