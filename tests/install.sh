#!/usr/bin/env bash
# Installs into a new folder, moves it, and lets a C program (pkg-config) and a C++ program (CMake) use
# what is there.
set -euo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"
build=$(cd "${HOCKET_BUILD_DIR:-build}" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >"$work/log" || {
    cat "$work/log"
    exit 1
}
mv "$work/first" "$work/prefix"    # nothing may remember where it was installed

# A world of one needs no launcher, no configuration and no other process.
cat >"$work/consumer.c" <<'END'
#include <hocket/hocket.h>
#include <stdio.h>

int main(void)
{
    hocket_group *group = NULL;
    float data[3] = {1, 2, 3};
    if (hocket_init(NULL, &group) != HOCKET_OK ||
        hocket_all_sum(group, data, 3) != HOCKET_OK) {
        fprintf(stderr, "%s\n", hocket_last_error());
        return 1;
    }
    printf("%d of %d: %g %g %g\n", hocket_rank(group), hocket_world_size(group), data[0], data[1],
           data[2]);
    hocket_free(group);
    return 0;
}
END
cp "$work/consumer.c" "$work/consumer.cpp"
expected="0 of 1: 1 2 3"

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name hocket.pc)")
libdir=$(dirname "$PKG_CONFIG_PATH")
${CC:-cc} -std=c11 -Wall -Wextra -Werror "$work/consumer.c" $(pkg-config --cflags --libs hocket) \
    -Wl,-rpath,"$libdir" -o "$work/consumer"

cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES CXX)
find_package(hocket 0.1 REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE hocket::hocket)
END
cmake -S "$work" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" \
    -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" >"$work/log" 2>&1 &&
    cmake --build "$work/cmake" >>"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
}

unset "${!HOCKET_@}"
for program in "$work/consumer" "$work/cmake/consumer"; do
    printed=$(timeout 20 "$program")
    if [ "$printed" != "$expected" ]; then
        echo "install: $program printed '$printed' instead of '$expected'"
        exit 1
    fi
done
timeout 20 "$work/prefix/bin/hocket" --help >/dev/null || {
    echo "install: the installed command does not start"
    exit 1
}
echo "install: a C and a C++ program use the installed library"
