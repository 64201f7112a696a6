# find_package(hocket): the target hocket::hocket.
include("${CMAKE_CURRENT_LIST_DIR}/hocket-targets.cmake")
