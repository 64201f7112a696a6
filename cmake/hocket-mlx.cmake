# libhocket-mlx: the only C++ of the house. libhocket loads it at run time, so it is built where MLX is
# found and left out, with one line, where it is not.
file(GLOB mlx_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/mlx/*.cpp")
set(HOCKET_HAVE_MLX FALSE)
if(mlx_sources)
    find_file(mlx_header mlx/mlx.h PATHS "${HOCKET_MLX_ROOT}/include" NO_DEFAULT_PATH NO_CACHE)
    find_library(mlx_library mlx PATHS "${HOCKET_MLX_ROOT}/lib" NO_DEFAULT_PATH NO_CACHE)
    if(mlx_header AND mlx_library)
        set(HOCKET_HAVE_MLX TRUE)
    else()
        message(NOTICE "libhocket-mlx is left out: no MLX in ${HOCKET_MLX_ROOT} (`make deps` gets it)")
    endif()
endif()

if(HOCKET_HAVE_MLX)
    enable_language(CXX)
    add_library(hocket-mlx SHARED ${mlx_sources})
    set_target_properties(hocket-mlx PROPERTIES VERSION ${PROJECT_VERSION}
                          SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    target_include_directories(hocket-mlx PRIVATE src)
    target_include_directories(hocket-mlx SYSTEM PRIVATE "${HOCKET_MLX_ROOT}/include")
    target_link_libraries(hocket-mlx PUBLIC hocket
                          PRIVATE $<BUILD_INTERFACE:hocket-flags> "$<BUILD_INTERFACE:${mlx_library}>"
                                  $<BUILD_INTERFACE:Threads::Threads> ${CMAKE_DL_LIBS})
    if(NOT APPLE)
        target_link_options(hocket-mlx PRIVATE
                            "LINKER:--version-script,${PROJECT_SOURCE_DIR}/cmake/hocket-mlx.map")
        set_target_properties(hocket-mlx PROPERTIES
                              LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/hocket-mlx.map")
    endif()
    get_filename_component(mlx_folder "${mlx_library}" DIRECTORY)
    hocket_rpath(hocket-mlx . "${mlx_folder}")
    install(TARGETS hocket-mlx EXPORT hocket-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
