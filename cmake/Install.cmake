include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
install(TARGETS headway EXPORT headwayTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET headway_cli)
  set_target_properties(headway_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS headway_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/headway DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT headwayTargets NAMESPACE headway:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/headway)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/headwayConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/headwayConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/headway)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/headwayConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/headwayConfig.cmake ${PROJECT_BINARY_DIR}/headwayConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/headway)
