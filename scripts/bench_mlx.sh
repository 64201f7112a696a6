#!/usr/bin/env bash
# Programs on MLX over hocket, over Open MPI and over MLX's ring, on this machine: a language model whose
# layers the ranks share, and all_sum of MLX's arrays. Everything is measured by everyone one after the other,
# several times over, as in bench_peers.sh.
#
#   scripts/bench_mlx.sh [--no-install]     measure, then report; takes about 4 minutes a round
#   scripts/bench_mlx.sh --report FILE      report what was measured before (build/bench/NAME.jsonl)
#
# ROUNDS (5), SIZES, RANKS (2, of all_sum), DECODE_RANKS (1 3), TOKENS (24), PROMPT, SECONDS_EACH (0.3) and NAME
# (today-mlx) may be set. The results are bench/results/NAME.md, .csv, .png and .svg.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh
source scripts/bench_common.sh

ROUNDS=${ROUNDS:-5}
SIZES=${SIZES:-4 1K 64K 1M 16M 64M}
RANKS=${RANKS:-2}
DECODE_RANKS=${DECODE_RANKS-1 3}
TOKENS=${TOKENS:-24}
PROMPT=${PROMPT:-The three largest cities of Austria are}
SECONDS_EACH=${SECONDS_EACH:-0.3}
NAME=${NAME:-$(date +%F)-mlx}
DECODE_SECONDS_MAX=300    # for any one run of the model

# launch CONFIGURATION RANKS PROGRAM ARGUMENT...: Python, with as many threads for everyone, and with OpenBLAS;
# a configuration on -rows also has what `hocket run --mlx` puts before that.
launch() {
    local config=${1%-rows} ranks=$2 threads command preload=$openblas
    [ "$config" = "$1" ] || preload=$rows
    [ "$config" != hocket ] || config=hocket-shm
    shift 2
    threads=$(($(getconf _NPROCESSORS_ONLN) / ranks))
    local alike=(env "PYTHONPATH=$MLX_PYTHON" "OMP_NUM_THREADS=$((threads < 1 ? 1 : threads))"
                 "OPENBLAS_NUM_THREADS=$((threads < 1 ? 1 : threads))" ${preload:+"LD_PRELOAD=$preload"})
    case $config in
    hocket-shm) command=("$hocket" run -n "$ranks" --mlx --backend shm -- "${alike[@]}") ;;
    openmpi) command=("${openmpi[@]}" -np "$ranks" "${alike[@]}" ${mpi_library:+"MLX_MPI_LIBNAME=$mpi_library"}) ;;
    mlx-ring) command=("$hocket" run -n "$ranks" --backend mlx:ring -- "${alike[@]}") ;;
    esac
    timeout -k 5 "$RUN_SECONDS_MAX" "${command[@]}" "$mlx_python" "$@" </dev/null 2>>"$BENCH/$NAME.log"
}

# measure CONFIGURATION RANKS OPERATION SIZE
measure() {
    local backend=mpi
    [ "$1" != mlx-ring ] || backend=ring
    launch "$1" "$2" bench/peers/all_sum.py "$1" $backend "$4" "$SECONDS_EACH"
}

# decode ROUND RANKS: the model, by everyone; on one rank, where none of them has anything to do (and MLX's ring
# does not open, and Open MPI's launcher calls it a failure that MLX does not stay), by one.
decode() {
    local round=$1 ranks=$2 i config some=("${by[@]}")
    [ -z "$rows" ] || some+=(hocket-rows ${openmpi_run:+openmpi-rows})
    [ "$ranks" -gt 1 ] || some=(hocket-shm ${rows:+hocket-rows})
    for ((i = 0; i < ${#some[@]}; i++)); do
        config=${some[$(((i + round - 1) % ${#some[@]}))]}
        [ ! -t 2 ] || printf '\r\033[Kround %d of %d: the model on %d ranks by %s' "$round" "$ROUNDS" "$ranks" "$config" >&2
        RUN_SECONDS_MAX=$DECODE_SECONDS_MAX launch "$config" "$ranks" tests/mlx_programs/decode.py "$MODEL" "$PROMPT" \
            "$TOKENS" "config=$config" "round=$round" >"$BENCH/line" && [ -s "$BENCH/line" ] ||
            { failed "$config failed: the model on $ranks ranks"; continue; }
        cat "$BENCH/line" >>"$raw"
    done
}

if [ "${1:-}" = --report ]; then
    report mlx "$2"
    exit
fi
prepare "$@"
[ -n "$mlx_python" ] || { say "there is nothing to measure without MLX for Python"; exit 1; }
if [ -n "$DECODE_RANKS" ] && ! scripts/model.sh; then
    say "the model could not be downloaded"
    exit 1
fi
by=(hocket-shm)
[ -z "$openmpi_run" ] || by+=(openmpi)
by+=(mlx-ring)
openblas=$(HOCKET_BLAS=openblas "$hocket" run --mlx -- sh -c 'echo "${LD_PRELOAD:-}"')
rows=$("$hocket" run --mlx -- sh -c 'echo "${LD_PRELOAD:-}"')
[ "$rows" != "$openblas" ] || rows=
# Another MPI may have the name that MLX looks for.
mpi_library=
! ldconfig -p 2>/dev/null | grep 'libmpi\.so\.40 ' >/dev/null || mpi_library=libmpi.so.40
raw=$BENCH/$NAME.jsonl
failures=0
: >"$BENCH/$NAME.log"
describe_machine >"$raw"
for ((round = 1; round <= ROUNDS; round++)); do
    for ranks in $DECODE_RANKS; do
        decode "$round" "$ranks"
    done
    for ranks in $RANKS; do
        measure_all "$round" "$ranks" all_reduce "${by[@]}"
    done
done
[ ! -t 2 ] || printf '\r\033[K' >&2
report mlx "$raw"
[ "$failures" = 0 ] || { say "$failures runs failed"; exit 1; }
