# find_package(hocket): the targets hocket::hocket and, where it was built with MLX, hocket::hocket-mlx.
include("${CMAKE_CURRENT_LIST_DIR}/hocket-targets.cmake")
