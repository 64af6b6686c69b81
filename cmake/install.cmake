include(CMakePackageConfigHelpers)
get_target_property(RILL_TYPE rill TYPE)  # STATIC_LIBRARY or SHARED_LIBRARY
install(TARGETS rill EXPORT rill-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET rill-cli)
  if(RILL_TYPE STREQUAL "SHARED_LIBRARY")  # the program finds the library beside it, wherever both are moved
    file(RELATIVE_PATH bin_to_lib ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(rill-cli PROPERTIES INSTALL_RPATH "$ORIGIN/${bin_to_lib}")
  endif()
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
# rill.pc finds its prefix from where it lies, so that an installed tree may be moved.
set(RILL_PC_LIBDIR ${CMAKE_INSTALL_FULL_LIBDIR})
set(RILL_PC_INCLUDEDIR ${CMAKE_INSTALL_FULL_INCLUDEDIR})
set(RILL_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(RILL_PC_PREFIX "\${pcfiledir}/${up}")
  set(RILL_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(RILL_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  endif()
endif()
configure_file(cmake/rill.pc.in rill.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rill.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
