# `cmake --install` and find_package(headway). The library is shared and its headers name no third-party type, so the
# package needs none of our dependencies to be found again: the loader finds them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(HEADWAY_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/headway)

install(TARGETS headway EXPORT headwayTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET headway_cli)
  # The program finds its library wherever the two were moved together.
  file(RELATIVE_PATH to_library ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(headway_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${to_library}")
  install(TARGETS headway_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/headway DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(EXPORT headwayTargets NAMESPACE headway:: DESTINATION ${HEADWAY_CMAKE_DIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/headwayConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/headwayConfig.cmake INSTALL_DESTINATION ${HEADWAY_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/headwayConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/headwayConfig.cmake ${PROJECT_BINARY_DIR}/headwayConfigVersion.cmake
        DESTINATION ${HEADWAY_CMAKE_DIR})
