#!/usr/bin/env bash
# hocket against Open MPI, MPICH and MLX's ring on this machine. Machines drift from one minute to the next,
# so each size is measured by everyone one after the other, and that several times over: ratios are taken
# within a round, then the median of the rounds.
#
#   scripts/bench_peers.sh [--no-install]     measure, then report; takes about 4 minutes a round
#   scripts/bench_peers.sh --report FILE      report what was measured before (build/bench/NAME.jsonl)
#
# ROUNDS (5), SIZES, RANKS, OTHERS (the collectives besides all_reduce), SECONDS_EACH (0.3) and NAME (today)
# may be set. The results are bench/results/NAME.md, .csv, .png and .svg.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh
source scripts/bench_common.sh

ROUNDS=${ROUNDS:-5}
SIZES=${SIZES:-4 1K 64K 1M 16M 64M}
RANKS=${RANKS:-2 4}
OTHERS=${OTHERS-all_gather reduce_scatter broadcast}
SECONDS_EACH=${SECONDS_EACH:-0.3}
NAME=${NAME:-$(date +%F)}

# The configurations that can be measured here.
list_configurations() {
    all_reduce_by=(hocket-shm hocket-alloc)
    others_by=(hocket-shm)
    if [ -n "$openmpi_run" ]; then
        all_reduce_by+=(openmpi openmpi-copy)
        others_by+=(openmpi openmpi-copy)
    fi
    if [ -n "$mpich_run" ]; then
        all_reduce_by+=(mpich)
        others_by+=(mpich)
    fi
    all_reduce_by+=(hocket-tcp)
    [ -z "$openmpi_run" ] || all_reduce_by+=(openmpi-tcp)
    [ -z "$mlx_python" ] || all_reduce_by+=(mlx-ring)
}

# measure CONFIGURATION RANKS OPERATION SIZE: prints lines of JSON.
measure() {
    local config=$1 ranks=$2 operation=$3 size=$4
    local bench=("$hocket" bench "$operation" --bytes "$size" --seconds "$SECONDS_EACH" --json)
    local mpi=("$config" "$operation" "$size" "$SECONDS_EACH")
    local own=() command
    case $config in
    hocket-shm) command=("$hocket" run -n "$ranks" --backend shm -- "${bench[@]}") ;;
    hocket-alloc) command=("$hocket" run -n "$ranks" --backend shm -- "${bench[@]}" --memory alloc) ;;
    hocket-tcp) command=("$hocket" run -n "$ranks" --backend tcp -- "${bench[@]}") ;;
    openmpi*)
        case $config in
        *-copy) own=(--mca btl_vader_single_copy_mechanism none) ;;    # reads of the peer's memory are not always best
        *-tcp) own=(--mca pml ob1 --mca btl tcp,self) ;;
        esac
        command=("${openmpi[@]}" "${own[@]}" -np "$ranks" $BENCH/mpi-openmpi "${mpi[@]}") ;;
    mpich) command=("${mpich[@]}" -np "$ranks" $BENCH/mpi-mpich "${mpi[@]}") ;;
    mlx-ring)
        command=(env "PYTHONPATH=$MLX_PYTHON" "$hocket" run -n "$ranks" --backend mlx:ring --
                 "$mlx_python" bench/peers/all_sum.py "$config" ring "$size" "$SECONDS_EACH") ;;
    esac
    timeout -k 5 "$RUN_SECONDS_MAX" "${command[@]}" </dev/null 2>>"$BENCH/$NAME.log"
}

if [ "${1:-}" = --report ]; then
    report peers "$2"
    exit
fi
prepare "$@"
list_configurations
raw=$BENCH/$NAME.jsonl
failures=0
: >"$BENCH/$NAME.log"
describe_machine >"$raw"
for ((round = 1; round <= ROUNDS; round++)); do
    for ranks in $RANKS; do
        measure_all "$round" "$ranks" all_reduce "${all_reduce_by[@]}"
    done
    for operation in $OTHERS; do
        measure_all "$round" 2 "$operation" "${others_by[@]}"
    done
done
[ ! -t 2 ] || printf '\r\033[K' >&2
report peers "$raw"
[ "$failures" = 0 ] || { say "$failures runs failed"; exit 1; }
