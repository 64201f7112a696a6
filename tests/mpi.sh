#!/usr/bin/env bash
# The backend mpi, under each MPI that it was built for: every operation on 1 to 4 ranks, beside a program's
# own use of MPI, in short pieces, and what is heard of ranks that are late, disagree or die.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source tests/mpis.bash
build=$(cd "${HOCKET_BUILD_DIR:-build}" && pwd) || exit 1
if [ -n "${HOCKET_SANITIZE:-}" ]; then
    echo "mpi: skipped: MPI itself is full of what sanitizers find; the plain build's run is enough"
    exit 77
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
LIMIT=60    # seconds for any one job
everything=$build/tests/programs/everything
export HOCKET_BACKEND=mpi

source tests/processes.bash
blame() {
    fault "$@"
    head -n 20 "$work/out"
}
# start NAME=VALUE... -- RANKS PROGRAM...: of the MPI in turn; its output goes to $work/out.
start() {
    local set=()
    while [ "$1" != -- ]; do
        set+=("$1")
        shift
    done
    shift
    env ${set[@]+"${set[@]}"} timeout $LIMIT "${mpirun[@]}" -n "$@" >"$work/out" 2>&1 </dev/null
}
# says COUNT PATTERN WHAT: that many lines do.
says() {
    local got
    cases=$((cases + 1))
    got=$(grep -acE "$2" "$work/out")
    [ "$got" = "$1" ] || blame "$mpi: $3: $got lines with '$2', not $1"
}

try_all() {
    local n level
    for n in 1 2 3 4; do
        start -- $n "$everything" || blame "$mpi: everything on $n ranks ended with $?"
        says $n "^rank [0-9] of $n over $([ $n = 1 ] && echo local || echo mpi): [0-9]+ checks" "everything"
        ! grep -q WARN "$work/out" || blame "$mpi: warns"
    done
    "$mpicc" -std=c11 -Wall -Wextra -Werror -Iinclude tests/mpi/own.c -L"$build/lib" -lhocket \
        "-Wl,-rpath,$build/lib" -o "$work/own-$mpi" || blame "$mpi: tests/mpi/own.c"
    for level in -1 0 1 2 3; do
        start -- 3 "$work/own-$mpi" $level || blame "$mpi: own $level ended with $?"
        says 3 "^rank [0-9] of 3: own $level" "a program's own MPI"
    done
    # What MPI counts with an int goes in pieces of 2^30 bytes: here of 50000.
    "$mpicc" -std=c11 -D_GNU_SOURCE -DHK_MPI_PIECE_BYTES='((size_t)50000)' -Iinclude -Isrc -shared -fPIC \
        src/transport/mpi/*.c -L"$build/lib" -lhocket "-Wl,-rpath,$build/lib" -o "$work/short-$mpi.so" ||
        blame "$mpi: a module with short pieces"
    start HOCKET_MPI_LIB="$work/short-$mpi.so" -- 2 "$everything" || blame "$mpi: short pieces ended with $?"
    says 2 "over mpi" "short pieces"
    # Without a module MLX's mpi is next, where that is.
    start HOCKET_MPI_LIB="$work/none.so" HOCKET_LOG=debug -- 2 "$build/tests/programs/world" x
    says 2 "backend mpi: .*none.so does not load" "no module"
}

try_failures() {
    start -- 3 "$everything" late
    says 2 "^rank [02]: timeout: .* rank 1" "a rank that stays away"
    start -- 3 "$everything" uneven
    says 1 "^rank 0: mismatch: " "ranks that disagree"
    # mpirun ends the others: that none hangs is all that hocket can see to.
    cases=$((cases + 1))
    start -- 3 "$everything" die && blame "$mpi: a rank was killed and all is well"
    [ $? != 124 ] || blame "$mpi: a rank was killed and mpirun hangs"
}

try() {
    mpi=$1
    shift
    mpirun=("$@")
    mpicc=$(command -v "mpicc.$mpi" || command -v mpicc || true)
    if ! ls "$build/lib/libhocket-$mpi".* >/dev/null 2>&1; then
        skips+=("libhocket-$mpi is not built, since that MPI was not found")
    elif [ ${#mpirun[@]} = 0 ] || [ -z "$mpicc" ]; then
        skips+=("the mpirun or mpicc of $mpi is not here")
    else
        try_all
        try_failures
    fi
}
try openmpi ${openmpi[@]+"${openmpi[@]}"}
try mpich ${mpich[@]+"${mpich[@]}"}

cases=$((cases + 1))
if "$build/bin/hocket" run -n 2 -- true >"$work/out" 2>&1; then
    blame "hocket run takes the backend mpi"
elif ! grep -q "MPI's ranks start under mpirun" "$work/out"; then
    blame "hocket run --backend mpi does not say how"
fi

finish 2
