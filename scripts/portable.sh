#!/usr/bin/env bash
# Compiles and links libhocket for machines that are not at hand, with the compiler of the wheel
# `ziglang`, which carries the headers of macOS and of other Linux machines; and libhocket-mlx and
# programs on hocket/mlx.hpp for macOS against the wheel `mlx-metal`. Nothing is run. libsodium and cJSON
# are not there for those machines: their headers are the same everywhere, and empty functions of their
# names stand in when we link, so that a name of our own that only Linux's file defines is still found
# missing.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

ZIG_VERSION=0.17.1
OUT=build-portable
ROOMS="src/core src/wire src/transport src/transport/verbs src/collective src/group src/graph"
JOBS=${JOBS:-2}

python=$(find_python) || exit 1
install_wheel "ziglang==$ZIG_VERSION" .deps/zig || exit 1
install_wheel "mlx-metal==$MLX_VERSION" .deps/mlx-metal \
    --platform macosx_14_0_arm64 || exit 1

export ZIG_GLOBAL_CACHE_DIR=$PWD/.deps/zig-cache ZIG_LOCAL_CACHE_DIR=$PWD/$OUT/cache
zig() { PYTHONPATH=.deps/zig "$python" -m ziglang "$@"; }
export -f zig
export python

# The headers of the two libraries alone: all of /usr/include would hide the target's own.
headers=$OUT/headers
rm -rf "$headers"
mkdir -p "$headers"
for module in libsodium libcjson; do
    folder=$(pkg-config --variable=includedir "$module")
    for name in sodium.h sodium cjson; do
        [ -e "$folder/$name" ] && ln -sfn "$folder/$name" "$headers/$name"
    done
done

FLAGS="-O1 -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Iinclude -Isrc -isystem $headers"
passed=0 failed=0

# check NAME COMMAND...: one line of the result.
check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
    fi
}

# compile TARGET KIND FLAGS SOURCE...: objects into $OUT/TARGET/KIND; kinds c++ and header are C++.
compile() {
    local target=$1 kind=$2 flags=$3
    shift 3
    local folder=$OUT/$target/$kind compiler=cc
    [ "$kind" = c++ ] || [ "$kind" = header ] && compiler=c++
    mkdir -p "$folder"
    rm -f "$folder"/*.o
    printf '%s\n' "$@" | xargs -P "$JOBS" -I{} bash -c \
        'object=$(echo "${1#src/}" | tr / -).o
         zig $2 -target $3 $4 -c "$1" -o "$5/$object"' _ {} "$compiler" "$target" "$flags" "$folder"
}

# Empty functions for every name of libsodium and cJSON that the sources use.
stand_in() {
    grep -ohE --include='*.c' '\b(sodium|crypto|randombytes|cJSON)_[A-Za-z0-9_]+\b' -r src tools | sort -u |
        awk '{print "void " $0 "(void);"; print "void " $0 "(void) {}"}' >"$OUT/stand-in.c"
}

# c_sources TARGET FOLDER...: the C sources there, less those of the other system.
c_sources() {
    local target=$1 other=_macos.c folder source
    shift
    [[ $target == *macos* ]] && other=_linux.c
    for folder in "$@"; do
        for source in "$folder"/*.c; do
            [ -e "$source" ] && [[ $source != *$other ]] && echo "$source"
        done
    done
}

# How a target's C library shows what it has beyond the C standard.
c_flags() {
    local system=-D_GNU_SOURCE
    [[ $1 == *macos* ]] && system=-D_DARWIN_C_SOURCE
    echo "-std=c11 $system -ffp-contract=off $FLAGS"
}

library() {
    local target=$1 name=$2 link=(-shared -Wl,-z,defs -Wl,-soname,libhocket.so.0.1)
    if [[ $target == *macos* ]]; then
        link=(-dynamiclib -install_name @rpath/libhocket.0.1.dylib)
    fi
    compile "$target" cc "$(c_flags "$target")" $(c_sources "$target" $ROOMS) &&
        zig cc -target "$target" "${link[@]}" "$OUT/$target"/cc/*.o "$OUT/stand-in.c" \
            -o "$OUT/$target/$name"
}

the_mpi() {
    local target=$1 name=$2 link=(-shared -Wl,-z,defs) libhocket=libhocket.so
    if [[ $target == *macos* ]]; then
        link=(-dynamiclib) libhocket=libhocket.dylib
    fi
    compile "$target" mpi "$(c_flags "$target")" $(c_sources "$target" src/mlx_mpi) &&
        zig cc -target "$target" "${link[@]}" "$OUT/$target"/mpi/*.o "$OUT/$target/$libhocket" \
            -o "$OUT/$target/$name"
}

the_blas() {
    local target=$1 name=$2
    compile "$target" blas "$(c_flags "$target")" $(c_sources "$target" src/mlx_blas) &&
        zig cc -target "$target" -shared -Wl,-z,defs "$OUT/$target"/blas/*.o -o "$OUT/$target/$name"
}

the_command() {
    local target=$1 name=$2
    compile "$target" tool "$(c_flags "$target") -Itools/hocket" \
        $(c_sources "$target" tools/hocket tools/hocket/*) &&
        zig cc -target "$target" "$OUT/$target"/tool/*.o "$OUT/$target/$name" "$OUT/stand-in.c" \
            -o "$OUT/$target/hocket"
}

shim() {
    local target=$1 name=$2 mlx=.deps/mlx-metal/mlx
    compile "$target" c++ "-std=c++20 -D_DARWIN_C_SOURCE $FLAGS -isystem $mlx/include" \
        src/mlx/*.cpp &&
        zig c++ -target "$target" -dynamiclib "$OUT/$target"/c++/*.o \
            "$OUT/$target/libhocket.dylib" "$mlx/lib/libmlx.dylib" -o "$OUT/$target/$name"
}

# The header for C++ programs, with all that they may call.
the_header() {
    local target=$1 mlx=.deps/mlx-metal/mlx
    compile "$target" header "-std=c++20 -D_DARWIN_C_SOURCE $FLAGS -isystem $mlx/include" \
        tests/mlx/*.cpp
}

stand_in
check "libhocket for aarch64-linux-gnu" library aarch64-linux-gnu libhocket.so
check "libhocket for aarch64-macos" library aarch64-macos libhocket.dylib
check "libhocket-mpi for aarch64-linux-gnu" the_mpi aarch64-linux-gnu libhocket-mpi.so
check "libhocket-mpi for aarch64-macos" the_mpi aarch64-macos libhocket-mpi.dylib
check "libhocket-blas for aarch64-linux-gnu" the_blas aarch64-linux-gnu libhocket-blas.so
if compgen -G 'tools/hocket/*.c' >/dev/null; then
    check "hocket for aarch64-linux-gnu" the_command aarch64-linux-gnu libhocket.so
    check "hocket for aarch64-macos" the_command aarch64-macos libhocket.dylib
fi
if compgen -G 'src/mlx/*.cpp' >/dev/null; then
    check "libhocket-mlx for aarch64-macos" shim aarch64-macos libhocket-mlx.dylib
    check "programs on hocket/mlx.hpp for aarch64-macos" the_header aarch64-macos
fi

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
