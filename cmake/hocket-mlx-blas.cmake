# libhocket-blas: what comes before OpenBLAS for MLX on Linux. It has a name of BLAS's, so nothing may link
# against it, and it is for processes that know no sanitizer.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND NOT HOCKET_SANITIZE)
    add_library(hocket-blas SHARED "${PROJECT_SOURCE_DIR}/src/mlx_blas/sgemm.c")
    set_target_properties(hocket-blas PROPERTIES NO_SONAME ON)
    target_link_libraries(hocket-blas PRIVATE hocket-flags Threads::Threads ${CMAKE_DL_LIBS})
    install(TARGETS hocket-blas LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
