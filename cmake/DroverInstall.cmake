# `cmake --install build/release --prefix DIR` gives a tree that runs from
# anywhere, also after it is moved:
#
#   bin/drover, bin/drover-shard
#   bin/text-generation-launcher   drover, under the name that starts TGIS
#   bin/text-generation-server     the same, for `download-weights`
#   lib/drover/                    LibTorch and the two libraries of CUDA
#   share/drover/models/fables-7m  the demo model
#   share/doc/drover/
#
# Debian's libraries (gRPC, protobuf, Abseil, ...) are not copied;
# scripts/runtime_packages.sh names their packages.

include(GNUInstallDirs)

if(TARGET drover)
  install(TARGETS drover RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  file(MAKE_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  foreach(name IN ITEMS text-generation-launcher text-generation-server)
    # Beside the program here as there.
    set(link ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name})
    file(CREATE_LINK drover ${link} SYMBOLIC)
    install(FILES ${link} DESTINATION ${CMAKE_INSTALL_BINDIR})
  endforeach()
endif()

if(TARGET drover-shard)
  set_target_properties(drover-shard PROPERTIES
    INSTALL_RPATH "$ORIGIN/../lib/drover")
  install(TARGETS drover-shard RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  # libtorch_cpu.so looks for its own neighbours in its folder.
  install(FILES
    ${LibTorch_CPU_LIBRARY} ${LibTorch_C10_LIBRARY}
    ${LibTorch_EXTRA_LIBRARIES}
    DESTINATION lib/drover)
endif()

install(DIRECTORY models/fables-7m
  DESTINATION ${CMAKE_INSTALL_DATADIR}/drover/models)
install(FILES README.md CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})
