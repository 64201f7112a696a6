#!/usr/bin/env bash
# How cost grows with the ranks of one host: all_reduce, barrier, start-up and memory at 2 to 64 ranks, of
# hocket and, beside it in each round, of the MPIs that are here.
#
#   scripts/bench_scale.sh [--no-install]
#   scripts/bench_scale.sh --report FILE      report what was measured before (build/bench/NAME.jsonl)
#
# ROUNDS (3), RANKS, SIZES, SECONDS_EACH (0.3) and NAME (today-scale) may be set. The results are
# bench/results/NAME.md, .csv, .png and .svg.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh
source scripts/bench_common.sh

ROUNDS=${ROUNDS:-3}
RANKS=${RANKS:-2 4 8 16 32 64}
SIZES=${SIZES:-4 64K 1M}
SECONDS_EACH=${SECONDS_EACH:-0.3}
NAME=${NAME:-$(date +%F)-scale}

# launch CONFIGURATION RANKS PROGRAM ARGUMENT...
launch() {
    local config=$1 ranks=$2 command
    shift 2
    case $config in
    hocket) command=("$hocket" run -n "$ranks" --backend shm -- "$@") ;;
    hocket-tcp) command=("$hocket" run -n "$ranks" --backend tcp -- "$@") ;;
    openmpi) command=("${openmpi[@]}" -np "$ranks" "$@") ;;
    mpich) command=("${mpich[@]}" -np "$ranks" "$@") ;;
    esac
    timeout -k 5 "$RUN_SECONDS_MAX" "${command[@]}" </dev/null 2>>"$BENCH/$NAME.log"
}

# measure CONFIGURATION RANKS OPERATION SIZES: lines of JSON.
measure() {
    case $1 in
    hocket*) launch "$1" "$2" "$hocket" bench "$3" --bytes "$4" --seconds "$SECONDS_EACH" --json ;;
    *) launch "$1" "$2" "$BENCH/mpi-$1" "$1" "$3" "$4" "$SECONDS_EACH" ;;
    esac
}

# Joining, one small collective, leaving.
start() {
    case $1 in
    hocket*) launch "$1" "$2" build/examples/hello ;;
    *) launch "$1" "$2" "$BENCH/mpi-$1" "$1" start ;;
    esac
}

# note CONFIGURATION RANKS WHAT VALUE
note() {
    printf '{"round": %d, "config": "%s", "ranks": %d, "what": "%s", "value": %s}\n' \
        "$round" "$1" "$2" "$3" "$4" >>"$raw"
}

# field NAME FILE: the values of that name, one a line.
field() { sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" "$2"; }

measure_all() {
    local config=$1 ranks=$2 size from value
    for size in $SIZES; do
        if measure "$config" "$ranks" all_reduce "$size" >"$BENCH/line"; then
            note "$config" "$ranks" "all_reduce of $size, microseconds" "$(field median_us "$BENCH/line")"
            value=$(field memory_bytes "$BENCH/line" | awk '$1 > 0 { printf "%.2f", $1 / 1048576 }')
        else
            failed "$config failed: all_reduce of $size on $ranks ranks"
        fi
    done
    # After the last size, which should be the largest.
    [ -z "${value:-}" ] || note "$config" "$ranks" "memory of a rank, MiB" "$value"
    if measure "$config" "$ranks" barrier 4 >"$BENCH/line"; then
        note "$config" "$ranks" "barrier, microseconds" "$(field median_us "$BENCH/line")"
    else
        failed "$config failed: barrier on $ranks ranks"
    fi
    from=$(now_ms)
    if start "$config" "$ranks" >/dev/null; then
        note "$config" "$ranks" "start-up and end, seconds" "$(awk -v a="$from" -v b="$(now_ms)" 'BEGIN { print (b - a) / 1000 }')"
    else
        failed "$config failed: start-up on $ranks ranks"
    fi
}

now_ms() { awk -v t="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.1f", t * 1000 }'; }

if [ "${1:-}" = --report ]; then
    report scale "$2"
    exit
fi
prepare "$@"
configs=(hocket hocket-tcp)
[ -z "$openmpi_run" ] || configs+=(openmpi)
[ -z "$mpich_run" ] || configs+=(mpich)
raw=$BENCH/$NAME.jsonl
failures=0
: >"$BENCH/$NAME.log"
describe_machine >"$raw"
for ((round = 1; round <= ROUNDS; round++)); do
    for ranks in $RANKS; do
        for config in "${configs[@]}"; do
            [ ! -t 2 ] || printf '\r\033[Kround %d of %d: %d ranks of %s' "$round" "$ROUNDS" "$ranks" "$config" >&2
            measure_all "$config" "$ranks"
        done
    done
done
[ ! -t 2 ] || printf '\r\033[K' >&2
report scale "$raw"
[ "$failures" = 0 ] || { say "$failures runs failed"; exit 1; }
