#!/usr/bin/env bash
# Ranks whom nobody tells where to meet, and nobody gives a secret, do so by the store of the real mpirun: of
# Open MPI (PMIx) and of MPICH (PMI-1). They are on one host and are told that they are on several; hosts of
# their own are stores_netns.sh. A program's own use of MPI goes on, before, between and after.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source tests/mpis.bash
build=$(cd "${HOCKET_BUILD_DIR:-build}" && pwd) || exit 1
world=$build/tests/programs/world
if [ -n "${HOCKET_SANITIZE:-}" ]; then
    echo "stores: skipped: MPI and PMIx are full of what sanitizers find; the plain build's run is enough"
    exit 77
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
LIMIT=60 # seconds for any one job
source tests/processes.bash
export HOCKET_BACKEND=tcp

# start RANKS [NAME=VALUE...] PROGRAM...: under the MPI in turn; what it says goes to $work/out.
start() {
    local ranks=$1
    shift
    timeout $LIMIT "${mpirun[@]}" -n "$ranks" env "$apart" "$@" >"$work/out" 2>&1 </dev/null
    status=$?
}
# says WHAT STATUS COUNT PATTERN: it ended so, and that many lines are like this.
says() {
    cases=$((cases + 1))
    [ "$status $(grep -acE "$4" "$work/out")" = "$2 $3" ] && return
    fault "$mpi: $1: status $status, $(grep -acE "$4" "$work/out") lines with '$4'"
    head -n 20 "$work/out"
}
# fails WHAT COUNT PATTERN
fails() {
    [ "$status" = 0 ] || status=1
    says "$1" 1 "$2" "$3"
}

try_worlds() {
    start 3 "$world" a
    says "three ranks" 0 3 "^rank [0-2] of 3 over tcp: a"
    start 3 "$world" a
    says "an end that the launcher takes for a crash" 0 0 "BAD TERMINATION|exiting improperly"
    # Others may have a secret of their own, as long as all do.
    start 2 HOCKET_SECRET=a-secret-of-all-ranks HOCKET_ENCRYPT=1 "$world" b
    says "a secret of their own" 0 2 "over tcp: b"
    LIMIT=5 # the others wait for those that have failed
    start 2 sh -c "[ $my_rank = 1 ] || export HOCKET_SECRET=a-secret-of-one-rank; exec '$world' b"
    fails "a secret of rank 0's" 1 "rank 0 was given a secret and rank 1 was not: "
    start 2 sh -c "[ $my_rank = 0 ] || export HOCKET_SECRET=a-secret-of-one-rank; exec '$world' b"
    fails "a secret of rank 1's" 1 "rank 1 was given a secret and rank 0 was not: "
    start 2 HOCKET_ENCRYPT=1 "$world" b
    fails "sealing" 1 "HOCKET_ENCRYPT=1 needs a secret that was not told over the network"
    LIMIT=60
}

try_turns() {
    local turns
    while read -r turns; do
        start 2 "$work/turns-$mpi" $turns
        says "$turns" 0 2 "^all $(wc -w <<<"$turns") turns"
    done <<'END'
hocket
hocket hocket
hocket init mpi finalize
init hocket mpi finalize
init mpi hocket hocket finalize
hocket init hocket mpi hocket finalize
hold init mpi finalize
hold init mpi hocket mpi finalize child
init hold finalize
hocket child init mpi finalize
child hocket child
init mpi finalize refused
init hocket finalize refused
END
}

# try NAME APART RANK COMMAND...: APART is the variable that has ranks believe in several hosts.
try() {
    mpi=$1 apart=$2 my_rank=\$$3
    shift 3
    mpirun=("$@")
    try_worlds
    mpicc=$(command -v "mpicc.$mpi" || command -v mpicc || true)
    if [ -z "$mpicc" ]; then
        echo "stores: $mpi: without its mpicc no program of MPI's own is tried"
        return
    fi
    "$mpicc" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude tests/mpi/turns.c -L"$build/lib" -lhocket \
        "-Wl,-rpath,$build/lib" -o "$work/turns-$mpi" || fault "$mpi: tests/mpi/turns.c"
    try_turns
}

if [ ${#openmpi[@]} = 0 ]; then
    skips+=("Open MPI's mpirun is not here")
elif ! PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep 'libpmix\.so\.2' >/dev/null; then
    skips+=("libpmix.so.2 is not here, by which Open MPI's store is spoken with")
else
    try openmpi OMPI_COMM_WORLD_LOCAL_SIZE=1 OMPI_COMM_WORLD_RANK "${openmpi[@]}"
    # srun --mpi=pmix gives the node list, from which all work out a coordinator, but no secret.
    mpi=srun
    cases=$((cases + 1))
    start 2 env -u OMPI_COMM_WORLD_RANK -u OMPI_COMM_WORLD_SIZE SLURM_NTASKS=2 SLURM_JOB_ID=7 \
        SLURM_STEP_ID=0 SLURM_STEP_NODELIST=192.0.2.1,192.0.2.2 \
        sh -c "SLURM_PROCID=\$PMIX_RANK exec '$world' c"
    says "as under srun --mpi=pmix" 0 2 "over tcp: c"
fi
if [ ${#mpich[@]} = 0 ]; then
    skips+=("MPICH's mpirun is not here")
else
    try mpich MPI_LOCALNRANKS=1 PMI_RANK "${mpich[@]}"
    start 2 PMI_FD=0 "$world" d
    fails "no socket" 2 "its PMI store is of no use: PMI_FD=0 is no socket"
    start 2 sh -c "'$world' d && exec '$world' d"
    fails "a second program" 2 "its PMI store is of no use: the launcher has closed PMI_FD"
fi

finish 2
