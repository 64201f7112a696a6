#!/usr/bin/env bash
# A C++ program hands groups of hocket's to MLX's own operations. Compiled here, since it needs MLX's
# headers, which the build of the other tests does not.
set -euo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"

build=${HOCKET_BUILD_DIR:-build}
if ! ls "$build"/lib/libhocket-mlx.* >/dev/null 2>&1; then
    echo "skipped: there is no libhocket-mlx, since no MLX was found when this was built"
    exit 77
fi
if [ -n "${HOCKET_SANITIZE:-}" ]; then
    echo "skipped: the plain build's run is enough for a program of its own"
    exit 77
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
lib=$(cd "$build/lib" && pwd)
mlx=${HOCKET_MLX_ROOT:-.deps/mlx/mlx}
"${CXX:-c++}" -std=c++20 -Wall -Wextra -Werror -Iinclude -isystem "$mlx/include" tests/mlx/group.cpp \
    -L"$lib" -lhocket-mlx -lhocket -L"$mlx/lib" -lmlx -pthread \
    "-Wl,-rpath,$lib" "-Wl,-rpath,$(cd "$mlx/lib" && pwd)" -o "$folder/group"
"$folder/group"
echo "mlx_group: MLX's own operations ran over groups of hocket's"
