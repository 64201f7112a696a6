# What `make install` lays down: headers, libraries, the command, and how pkg-config and CMake find them.
# All of it can be moved: the paths inside are relative to the files themselves.
include(CMakePackageConfigHelpers)

set(config_folder "${CMAKE_INSTALL_LIBDIR}/cmake/hocket")
set(pkgconfig_folder "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(TARGETS hocket EXPORT hocket-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/hocket DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT hocket-targets NAMESPACE hocket:: DESTINATION ${config_folder})

file(RELATIVE_PATH HOCKET_PC_PREFIX "/p/${pkgconfig_folder}" /p)
string(REGEX REPLACE "/$" "" HOCKET_PC_PREFIX "${HOCKET_PC_PREFIX}")
configure_file(cmake/hocket.pc.in hocket.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/hocket.pc" DESTINATION ${pkgconfig_folder})
if(TARGET hocket-mlx)
    configure_file(cmake/hocket-mlx.pc.in hocket-mlx.pc @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/hocket-mlx.pc" DESTINATION ${pkgconfig_folder})
endif()

write_basic_package_version_file("${PROJECT_BINARY_DIR}/hocket-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/hocket-config-version.cmake" DESTINATION ${config_folder})
install(FILES cmake/hocket-config.cmake DESTINATION ${config_folder})
