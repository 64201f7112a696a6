# libhocket-mpi: what MLX's mpi backend loads in the place of an MPI, found by its path alone. It needs no
# MLX to be built, and its names are MPI's, so nothing may link against it.
file(GLOB mlx_mpi_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/mlx_mpi/*.c")
add_library(hocket-mpi SHARED ${mlx_mpi_sources})
set_target_properties(hocket-mpi PROPERTIES NO_SONAME ON)
target_include_directories(hocket-mpi PRIVATE src)
target_link_libraries(hocket-mpi PRIVATE hocket-flags hocket Threads::Threads)
# A real MPI may be in the same process, with the same names: in here they mean what is in here.
if(NOT APPLE)
    target_link_options(hocket-mpi PRIVATE LINKER:-Bsymbolic)
    if(NOT HOCKET_SANITIZE)
        target_link_options(hocket-mpi PRIVATE LINKER:-z,defs)
    endif()
endif()
hocket_rpath(hocket-mpi .)
install(TARGETS hocket-mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
