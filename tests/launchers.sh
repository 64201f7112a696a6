#!/usr/bin/env bash
# Ranks find each other whoever starts them: the mpirun of Open MPI and of MPICH, mlx.launch, and the
# variables of torchrun and srun, which are set here. Two jobs beside each other do not meet.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source tests/mpis.bash
build=$(cd "${HOCKET_BUILD_DIR:-build}" && pwd) || exit 1
world=$build/tests/programs/world
[ -x "$world" ] || { echo "launchers: $world was not built"; exit 1; }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
LIMIT=60    # seconds for any one job
source tests/processes.bash

# job LABEL COMMAND...: in the background; what it says and its status go to files of that name.
job() {
    local label=$1
    shift
    { timeout $LIMIT "$@" >"$work/$label.out" 2>"$work/$label.err" </dev/null
      echo $? >"$work/$label.rc"; } &
}

# ended LABEL SIZE: the job of that name had so many ranks, one world, and all is well.
ended() {
    local label=$1 size=$2 wanted got
    cases=$((cases + 1))
    wanted=$(for ((r = 0; r < size; r++)); do echo "rank $r of $size over B: $label"; done)
    got=$(grep -aoE "rank [0-9]+ of [0-9]+ over [a-z]+: $label" "$work/$label.out" |
          sed -E 's/ over [a-z]+/ over B/' | sort)
    if [ "$(cat "$work/$label.rc")" != 0 ] || [ "$got" != "$wanted" ]; then
        fault "$label ended with $(cat "$work/$label.rc")"
        head -n 20 "$work/$label.out" "$work/$label.err"
    fi
}

# ranks LABEL SIZE RANK_VARIABLE [NAME=VALUE...]: as a launcher would that sets these. A %r in a value
# is the rank.
ranks() {
    local label=$1 size=$2 variable=$3 r pids=() status=0
    shift 3
    for ((r = 0; r < size; r++)); do
        env "$variable=$r" "${@//%r/$r}" timeout $LIMIT "$world" "$label" \
            >"$work/$label.$r.out" 2>"$work/$label.$r.err" </dev/null &
        pids+=($!)
    done
    for r in "${pids[@]}"; do
        wait "$r" || status=$?
    done
    cat "$work/$label".[0-9]*.out >"$work/$label.out"
    cat "$work/$label".[0-9]*.err >"$work/$label.err"
    echo $status >"$work/$label.rc"
}

# --- mpirun, two jobs at a time --------------------------------------------------------------------

if [ ${#openmpi[@]} -gt 0 ]; then
    job ompi-a "${openmpi[@]}" -n 3 "$world" ompi-a 1
    job ompi-b "${openmpi[@]}" -n 3 "$world" ompi-b 1
    wait
    ended ompi-a 3
    ended ompi-b 3
else
    skips+=("Open MPI's mpirun is not here")
fi

if [ ${#mpich[@]} -gt 0 ]; then
    # One through a shell, which is then the ranks' parent.
    job mpich-a "${mpich[@]}" -n 3 "$world" mpich-a 1
    job mpich-b "${mpich[@]}" -n 3 sh -c "'$world' mpich-b 1; exit \$?"
    wait
    ended mpich-a 3
    ended mpich-b 3
else
    skips+=("MPICH's mpirun is not here")
fi

# --- mlx.launch ------------------------------------------------------------------------------------

# Of the wheel that make deps has got for this Python. Where that is, it must work.
source scripts/common.sh
python=$(find_python || command -v python3 || true)
mlx_launch() {
    PYTHONPATH=$PWD/$MLX_PYTHON "$python" -c \
        'import sys; from mlx._distributed_utils.launch import main; sys.exit(main())' "$@"
}
free_port() {
    "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
if [ -n "$python" ] && [ -d $MLX_PYTHON/mlx ]; then
    export -f mlx_launch
    export python MLX_PYTHON
    job mlx bash -c 'mlx_launch "$@"' _ -n 2 --backend ring --starting-port "$(free_port)" -- "$world" mlx
    # Of jaccl the ranks take the devices' file and the coordinator, not the devices, which are not here.
    printf '[{"ssh": "127.0.0.1", "ips": ["127.0.0.1"], "rdma": [null, "rdma_en2"]},
             {"ssh": "127.0.0.1", "ips": ["127.0.0.1"], "rdma": ["rdma_en3", null]}]' >"$work/rdma.json"
    job mlx-jaccl bash -c 'mlx_launch "$@"' _ --backend jaccl --hostfile "$work/rdma.json" \
        --starting-port "$(free_port)" --env HOCKET_BACKEND=tcp -- "$world" mlx-jaccl
    wait
    ended mlx 2
    ended mlx-jaccl 2
else
    skips+=("mlx.launch is not here: make deps has got no MLX for Python into $MLX_PYTHON")
fi

# --- what torchrun, srun and mlx.launch's jaccl set ----------------------------------------------------------

torch=(WORLD_SIZE=3 LOCAL_WORLD_SIZE=3 LOCAL_RANK=%r MASTER_ADDR=node-that-is-not MASTER_PORT=29500)
ranks torch-a 3 RANK "${torch[@]}" TORCHELASTIC_RUN_ID=a &
ranks torch-b 3 RANK "${torch[@]}" TORCHELASTIC_RUN_ID=b &
ranks torch-c 2 RANK WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500
wait
ended torch-a 3
ended torch-b 3
ended torch-c 2

slurm=(SLURM_NTASKS=3 SLURM_STEP_ID=0 SLURM_STEP_NODELIST=node7)
ranks slurm-a 3 SLURM_PROCID "${slurm[@]}" SLURM_JOB_ID=$$ &
ranks slurm-b 3 SLURM_PROCID "${slurm[@]}" SLURM_JOB_ID=$(($$ + 1))
wait
ended slurm-a 3
ended slurm-b 3
# Several hosts, all of them this one, by a name that is one of its addresses.
ranks slurm-names 2 SLURM_PROCID SLURM_NTASKS=2 SLURM_JOB_ID=$$ SLURM_STEP_ID=1 \
    SLURM_STEP_NODELIST=localhost,other
ended slurm-names 2

echo '[[null, "rdma_en2"], ["rdma_en2", null]]' >"$work/devices"
if [ -n "$python" ]; then
    ranks jaccl 2 MLX_RANK MLX_IBV_DEVICES="$work/devices" MLX_JACCL_COORDINATOR=127.0.0.1:"$(free_port)" \
        HOCKET_BACKEND=tcp
    ended jaccl 2
fi

# --- what is missing is said -----------------------------------------------------------------------

# says LABEL WORDS COMMAND...: fails, with these words.
says() {
    local label=$1 words=$2
    shift 2
    cases=$((cases + 1))
    if timeout $LIMIT "$@" >"$work/out" 2>&1; then
        fault "$label: it worked"
    elif ! grep -qF -- "$words" "$work/out"; then
        fault "$label: it says $(cat "$work/out"), not '$words'"
    fi
}
far=(SLURM_NTASKS=2 SLURM_JOB_ID=1 SLURM_STEP_ID=0 'SLURM_STEP_NODELIST=192.0.2.1,192.0.2.2')
for r in 0 1; do
    says "srun on two hosts without a secret" "HOCKET_SECRET_FILE=/a/shared/file before srun" \
        env SLURM_PROCID=$r "${far[@]}" "$world" x
    says "Open MPI on two hosts" "mpirun -x HOCKET_COORDINATOR=host:port" \
        env OMPI_COMM_WORLD_RANK=$r OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=1 PMIX_NAMESPACE=1 \
        "$world" x
    says "Open MPI on two hosts without a secret" "mpirun -x HOCKET_SECRET" \
        env OMPI_COMM_WORLD_RANK=$r OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=1 PMIX_NAMESPACE=1 \
        HOCKET_COORDINATOR=192.0.2.1:4711 "$world" x
done

finish 3
