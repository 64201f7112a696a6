#!/usr/bin/env bash
# Installs into a new folder, moves it, and lets programs in C and C++ use what is there, by pkg-config
# and by CMake; looks for the manual and the completions where man and the shells do.
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

# A program with MLX of its own links libhocket-mlx too.
cat >"$work/with_mlx.cpp" <<'END'
#include <cstdio>
#include <hocket/mlx.h>

int main()
{
    void *inside = nullptr;
    bool refused = hocket_mlx_group(nullptr, &inside) == HOCKET_ERR_INVALID;
    hocket_mlx_group_free(inside);
    std::puts(refused ? "0 of 1: 1 2 3" : "a group of nothing was made");
}
END
# One that needs nothing but the header links libhocket and MLX.
cat >"$work/with_header.cpp" <<'END'
#include <cstdio>
#include <hocket/mlx.hpp>

int main()
{
    hocket_group *world = nullptr;
    hocket::mlx::check(hocket_init(nullptr, &world));
    auto group = hocket::mlx::owned(world);
    auto loss = [&](const mlx::core::array &x) {
        return mlx::core::sum(hocket::mlx::all_reduce(x, group, HOCKET_MAX));
    };
    mlx::core::array x({1.0f, 2.0f, 3.0f});
    mlx::core::array slopes = mlx::core::grad(loss)(x);
    mlx::core::array y = mlx::core::distributed::all_sum(x, hocket::mlx::group(group));
    mlx::core::eval(slopes, y);
    std::printf("%d of %d: %g %g %g\n", hocket_rank(world), hocket_world_size(world),
                slopes.data<float>()[0], y.data<float>()[1], y.data<float>()[2]);
}
END
mlx=no
[ -e "$build/hocket-mlx.pc" ] && mlx=yes

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name hocket.pc)")
libdir=$(dirname "$PKG_CONFIG_PATH")
${CC:-cc} -std=c11 -Wall -Wextra -Werror "$work/consumer.c" $(pkg-config --cflags --libs hocket) \
    -Wl,-rpath,"$libdir" -o "$work/by_pkg_config_c"
cxx() {
    ${CXX:-c++} -std=$1 -Wall -Wextra -Werror "${@:2}" -Wl,-rpath,"$libdir"
}
cxx c++17 "$work/consumer.cpp" $(pkg-config --cflags --libs hocket) -o "$work/by_pkg_config_cpp"
programs="$work/by_pkg_config_c $work/by_pkg_config_cpp"
if [ $mlx = yes ]; then
    cxx c++17 "$work/with_mlx.cpp" $(pkg-config --cflags --libs hocket-mlx) -o "$work/by_pkg_config_mlx"
    root=$(cd "${HOCKET_MLX_ROOT:-.deps/mlx/mlx}" && pwd)
    cxx c++20 "$work/with_header.cpp" -isystem "$root/include" $(pkg-config --cflags --libs hocket) \
        -L"$root/lib" -lmlx -Wl,-rpath,"$root/lib" -o "$work/by_pkg_config_header"
    programs+=" $work/by_pkg_config_mlx $work/by_pkg_config_header"
fi

cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES C CXX)
find_package(hocket 0.1 REQUIRED)
add_executable(consumer_c consumer.c)
add_executable(consumer_cpp consumer.cpp)
target_link_libraries(consumer_c PRIVATE hocket::hocket)
target_link_libraries(consumer_cpp PRIVATE hocket::hocket)
if(TARGET hocket::hocket-mlx)
    add_executable(consumer_mlx with_mlx.cpp)
    target_link_libraries(consumer_mlx PRIVATE hocket::hocket-mlx)
endif()
END
cmake -S "$work" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" \
    -DCMAKE_C_FLAGS="-Wall -Wextra -Werror" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" >"$work/log" 2>&1 &&
    cmake --build "$work/cmake" >>"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
}

unset "${!HOCKET_@}"
programs+=" $work/cmake/consumer_c $work/cmake/consumer_cpp"
[ $mlx = yes ] && programs+=" $work/cmake/consumer_mlx"
for program in $programs; do
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
[ $mlx = no ] || timeout 60 "$work/prefix/bin/hocket" doctor >"$work/log"
[ $mlx = no ] || grep -qE '^  mlx +available$' "$work/log" || {
    echo "install: the installed libhocket does not find the installed libhocket-mlx"
    exit 1
}

# The manual is the one that the command has.
manual="man/man1/hocket.1 man/man7/hocket.7 bash-completion/completions/hocket zsh/site-functions/_hocket"
for command in $("$work/prefix/bin/hocket" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    manual+=" man/man1/hocket-$command.1"
done
"$work/prefix/bin/hocket" help --write "$work/manual"
for page in $manual; do
    cmp "$work/manual/$page" "$work/prefix/share/$page" || {
        echo "install: $page is not what was to be installed"
        exit 1
    }
done
if command -v man >/dev/null; then
    MANPATH="$work/prefix/share/man" man -w 1 hocket-run >"$work/log" || {
        echo "install: man does not find hocket-run(1)"
        exit 1
    }
fi
echo "install: $(wc -w <<<"$programs") programs use the installed library, $(wc -w <<<"$manual") pages are there"
