include(CMakePackageConfigHelpers)
install(TARGETS rill EXPORT rill-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET rill-cli)
  install(TARGETS rill-cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
set(rill_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rill)
install(EXPORT rill-targets NAMESPACE rill:: DESTINATION ${rill_cmake_dir})
configure_package_config_file(cmake/rill-config.cmake.in rill-config.cmake INSTALL_DESTINATION ${rill_cmake_dir})
write_basic_package_version_file(rill-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/rill-config.cmake ${PROJECT_BINARY_DIR}/rill-config-version.cmake
  DESTINATION ${rill_cmake_dir})
if(RILL_HAVE_CUDA)  # a static rill brings the CUDA runtime that its back end is linked with
  set(RILL_CUDA_LIBS "-L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt ")
endif()
configure_file(cmake/rill.pc.in rill.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rill.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
