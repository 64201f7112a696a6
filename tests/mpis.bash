# Which MPIs are here; sourced by tests, not run. Sets openmpi and mpich, arrays with the command that
# starts ranks, empty where there is none, and forgets the launcher of the test itself.

# find_launcher PATTERN CANDIDATE...: the first whose --version matches.
find_launcher() {
    local pattern=$1 candidate says
    shift
    for candidate; do
        # Not into a pipe: grep -q would hang up on the launcher, and pipefail would call that a failure.
        if command -v "$candidate" >/dev/null && says=$(timeout 20 "$candidate" --version 2>&1) &&
            grep -qiE "$pattern" <<<"$says"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

openmpi=() mpich=()
if found=$(find_launcher 'open.?mpi|openrte' mpirun.openmpi mpirun mpiexec); then
    openmpi=("$found" --oversubscribe)
    [ "$(id -u)" != 0 ] || openmpi+=(--allow-run-as-root)
fi
if found=$(find_launcher 'hydra|mpich' mpirun.mpich mpiexec.hydra mpirun mpiexec); then
    mpich=("$found")
fi

# What started this test must not be taken for what starts its ranks.
for name in $(compgen -e | grep -E \
    '^(HOCKET_(RANK|WORLD|COORD|SECRET|BACKEND|HOSTFILE|MPI_LIB)|MLX_RANK|MLX_HOSTFILE|OMPI_|PMI_|PMIX_|SLURM_|RANK$|WORLD_SIZE$|MASTER_)'); do
    unset "$name"
done
