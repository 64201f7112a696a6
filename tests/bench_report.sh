#!/usr/bin/env bash
# bench/report.py: ratios are taken within a round against the better MPI, then their median; the limits are
# applied to them. The figures here are made up.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source scripts/common.sh
python=$(find_python) || { echo "bench_report: skipped, no Python 3.10 here"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export PATH=$work/bin:$PATH    # gnuplot may be missing; here it always is, so as to be quick
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/gnuplot"
chmod +x "$work/bin/gnuplot"

faults=0
wants() {
    grep -qF -- "$2" "$1" || { echo "bench_report: no '$2' in"; cat "$1"; faults=$((faults + 1)); }
}

# figures ROUND CONFIG MICROSECONDS_AT_4 MICROSECONDS_AT_1M
figures() {
    local size=4 us
    for us in "$3" "$4"; do
        printf '{"config": "%s", "size": "%s", "operation": "all_reduce", "ranks": 2, "round": %d, "bytes": 4, "median_us": %s}\n' \
            "$2" "$size" "$1" "$us"
        size=1M
    done
}
{
    echo '{"machine": {"cores": "2"}}'
    # The machine is ten times slower in round 2; in round 3 MPICH is the better one.
    figures 1 hocket-shm 0.2 100; figures 1 openmpi 0.4 200; figures 1 mpich 9 900
    figures 2 hocket-shm 2 1000;  figures 2 openmpi 4 2000;  figures 2 mpich 90 9000
    figures 3 hocket-shm 0.3 100; figures 3 openmpi 4 2000;  figures 3 mpich 0.4 80
} >"$work/raw.jsonl"
"$python" bench/report.py peers "$work/raw.jsonl" "$work/result" >/dev/null 2>&1 || { echo "bench_report: it failed"; exit 1; }
wants "$work/result.md" "| all_reduce, 2 ranks: shm against the better MPI | 0.50 (0.50-0.75) | 0.50 (0.50-1.25) | 0.50 | 0.9 | 0.55 | yes |"
wants "$work/result.md" "| 4 | 0.30 | 4.00 | 9.00 |"
wants "$work/result.csv" "3,all_reduce,2,mpich,1M,4,80"
sed -i.old 's/"median_us": 100}/"median_us": 190}/' "$work/raw.jsonl"
"$python" bench/report.py peers "$work/raw.jsonl" "$work/result" >/dev/null 2>&1
wants "$work/result.md" "0.95 (0.50-2.38) | 0.69 | 0.9 | 0.55 | **no** |"

{
    echo '{"machine": {"cores": "2"}}'
    figures 1 hocket-shm 10 100; figures 1 openmpi 10 100;  figures 1 mlx-ring 100 1000
    for rate in 1:12:8:1.5 2:6:5:0.5; do
        IFS=: read -r round ours theirs ring <<<"$rate"
        for config_rate in hocket-shm:$ours hocket-rows:$ours openmpi:$theirs mlx-ring:$ring; do
            printf '{"config": "%s", "round": "%s", "ranks": 3, "tokens": [1, 2], "tokens_per_s": %s}\n' \
                "${config_rate%:*}" "$round" "${config_rate#*:}"
        done
    done
} >"$work/mlx.jsonl"
"$python" bench/report.py mlx "$work/mlx.jsonl" "$work/mlx" >/dev/null 2>&1 || { echo "bench_report: mlx failed"; exit 1; }
wants "$work/mlx.md" "| all_reduce, 2 ranks: MLX over hocket against over Open MPI | 1.00 (1.00-1.00) | - | 1.00 | 1.05 | - | yes |"
wants "$work/mlx.md" "| all_reduce, 2 ranks: MLX over hocket against over Open MPI | - | 1.00 (1.00-1.00) | 1.00 | 0.8 | - | **no** |"
wants "$work/mlx.md" "| hocket, shm | 9.00 (6.00-12.00) |"
wants "$work/mlx.md" "| 3 ranks: hocket by Open MPI, both with OpenBLAS | 1.35 (1.20-1.50) | 1.2 | yes |"
wants "$work/mlx.md" "| 3 ranks: hocket run --mlx by MLX's ring with OpenBLAS | 10.00 (8.00-12.00) | 10 | yes |"
echo '{"config": "openmpi", "round": "3", "ranks": 3, "tokens": [1, 3], "tokens_per_s": 5}' >>"$work/mlx.jsonl"
"$python" bench/report.py mlx "$work/mlx.jsonl" "$work/mlx" >/dev/null 2>"$work/err" && faults=$((faults + 1))
wants "$work/err" "the model said 2 different things"

for ranks in 2 64; do
    echo "{\"round\": 1, \"config\": \"hocket\", \"ranks\": $ranks, \"what\": \"barrier, microseconds\", \"value\": $ranks.5}"
done >"$work/scale.jsonl"
"$python" bench/report.py scale "$work/scale.jsonl" "$work/scale" >/dev/null 2>&1
wants "$work/scale.md" "| hocket, shm | 2.5 | 64.5 |"

[ "$faults" = 0 ] || exit 1
echo "bench_report: ratios, medians and limits are right"
