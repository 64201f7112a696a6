#!/usr/bin/env bash
# The libraries export hocket_ names and nothing else, but for libhocket-mpi and libhocket-blas, which export
# the names that MLX looks up and nothing else. Every public header compiles by itself, as C11 and as C++17; those of
# hocket/mlx.hpp as C++20 with all warnings, where MLX is, and they refuse an MLX that they were not tested
# with by a sentence.
set -euo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"
build=${HOCKET_BUILD_DIR:-build}

faults=0
fault() {
    echo "exports: $*"
    faults=$((faults + 1))
}

suffix=so
names() { nm -D --defined-only "$1" | awk '{print $3}' | sed 's/@.*//'; }
if [ "$(uname -s)" = Darwin ]; then
    suffix=dylib
    names() { nm -gU "$1" | awk '{print $3}' | sed 's/^_//'; }
fi

exported=0
for library in "$build/lib/libhocket.$suffix" "$build"/lib/libhocket-{mlx,openmpi,mpich}."$suffix"; do
    if [ ! -e "$library" ]; then
        [ "$library" != "$build/lib/libhocket.$suffix" ] || fault "$library was not built"
        continue
    fi
    while read -r name; do
        exported=$((exported + 1))
        [[ $name == hocket_* ]] || fault "$library exports $name"
    done < <(names "$library")
done

mpi_names="MPI_Allgather MPI_Allreduce MPI_Comm_free MPI_Comm_rank MPI_Comm_size MPI_Comm_split MPI_Finalize
MPI_Get_library_version MPI_Init MPI_Op_create MPI_Recv MPI_Send MPI_Type_commit MPI_Type_contiguous
ompi_mpi_c_bool ompi_mpi_c_complex ompi_mpi_comm_world ompi_mpi_double ompi_mpi_float ompi_mpi_int16_t
ompi_mpi_int32_t ompi_mpi_int64_t ompi_mpi_int8_t ompi_mpi_op_max ompi_mpi_op_min ompi_mpi_op_sum
ompi_mpi_uint16_t ompi_mpi_uint32_t ompi_mpi_uint64_t ompi_mpi_uint8_t"
library=$build/lib/libhocket-mpi.$suffix
if [ -e "$library" ]; then
    exported=$((exported + $(names "$library" | wc -l)))
    while read -r line; do
        fault "$library: $line"
    done < <(diff <(tr ' ' '\n' <<<"$mpi_names" | sort) <(names "$library" | sort) |
             sed -n 's/^< /does not export /p; s/^> /exports /p')
else
    fault "$library was not built"
fi

library=$build/lib/libhocket-blas.$suffix
[ ! -e "$library" ] || [ "$(names "$library")" = cblas_sgemm ] ||
    fault "$library exports $(names "$library" | tr '\n' ' '), not cblas_sgemm alone"

[ "$exported" -gt 0 ] || fault "no exported name was seen"

headers=0
for header in include/hocket/*.h; do
    headers=$((headers + 1))
    name=hocket/$(basename "$header")
    warnings="-Wall -Wextra -Werror -pedantic -Wstrict-prototypes"
    echo "#include <$name>" | ${CC:-cc} -std=c11 $warnings -Iinclude -fsyntax-only -x c - ||
        fault "$name does not compile as C11"
    echo "#include <$name>" | ${CXX:-c++} -std=c++17 ${warnings% *} -Iinclude -fsyntax-only -x c++ - ||
        fault "$name does not compile as C++17"
done

mlx=${HOCKET_MLX_ROOT:-.deps/mlx/mlx}/include
with_mlx() {
    ${CXX:-c++} -std=c++20 ${warnings% *} -Wshadow -Wconversion -Iinclude -isystem "$mlx" "$@" \
        -fsyntax-only -x c++ -
}
if [ -e "$mlx/mlx/version.h" ]; then
    for header in include/hocket/mlx.hpp include/hocket/mlx/*.hpp; do
        headers=$((headers + 1))
        echo "#include <${header#include/}>" | with_mlx || fault "$header does not compile as C++20"
    done
    sentence='#error "hocket/mlx.hpp was tested with MLX [0-9.]* to [0-9.]*; this is another version of MLX"'
    for version in 32001 32005 33000 100000; do
        said=$(printf '%s\n' '#include <mlx/version.h>' '#undef MLX_VERSION_NUMERIC' \
            "#define MLX_VERSION_NUMERIC $version" '#include <hocket/mlx.hpp>' | with_mlx 2>&1) &&
            fault "mlx.hpp compiles with MLX $version"
        grep -q "error: $sentence" <<<"$said" || fault "mlx.hpp says nothing of MLX $version: $said"
        [ "$(grep -c 'error:' <<<"$said")" = 1 ] || fault "mlx.hpp goes on after MLX $version: $said"
    done
else
    echo "exports: not hocket/mlx.hpp, there is no MLX in $mlx"
fi

[ "$faults" = 0 ] || exit 1
echo "exports: $exported names, $headers headers"
