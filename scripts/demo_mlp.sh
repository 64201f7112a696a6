#!/usr/bin/env bash
# One decoder layer's gated MLP with a real model's weights, on one rank, then spread over 2
# and 4 ranks over two transports. Prints a table and fails when a run does, or when what the ranks got
# together differs from what one got alone. ROWS (tokens) and LAYER may be set.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

LIMIT=1e-4      # of the largest value; sums of floats in another order differ by less than 1e-6
SECONDS_MAX=120 # for one run
ROWS=${ROWS:-64}
LAYER=${LAYER:-0}

say() { echo "demo-mlp: $*" >&2; }

need_model

# field NAME: a value of the one line of JSON in $result.
field() { sed -n "s/.*\"$1\": \"\{0,1\}\([^,\"}]*\).*/\1/p" <<<"$result"; }

failures=0 alone=
say "layer $LAYER, $ROWS tokens; each rank loads the model and keeps its share"
rows=()
while read -r ranks backend; do
    say "$ranks rank(s) over $backend"
    result=$(build/bin/hocket run -n "$ranks" --backend "$backend" --timeout $SECONDS_MAX \
             -- build/examples/mlp --model $MODEL --layer "$LAYER" --rows "$ROWS" --runs 50 --json \
             </dev/null)
    status=$?
    if [ $status != 0 ] || [ -z "$(field ms)" ]; then
        say "failed with status $status"
        rows+=("$ranks $backend - - - - FAILED")
        failures=$((failures + 1))
        continue
    fi
    ms=$(field ms)
    [ "$ranks" = 1 ] && alone=$ms
    # A difference that is no number is not below the limit.
    verdict=$(awk -v d="$(field difference)" -v limit=$LIMIT \
              'BEGIN { print (d ~ /^[0-9.e+-]+$/ && d + 0 <= limit + 0) ? "ok" : "TOO-LARGE" }')
    [ "$verdict" = ok ] || failures=$((failures + 1))
    rows+=("$(awk -v n="$ranks" -v b="$backend" -v ms="$ms" -v alone="$alone" -v v="$verdict" \
              -v d="$(field difference)" -v bytes="$(field weight_bytes)" \
              'BEGIN { printf "%s %s %.1f %.2f %s %.1e %s", n, b, bytes / 1e6, ms,
                       alone ? sprintf("%.2f", alone / ms) : "-", d, v }')")
done <<END
1 tcp
2 tcp
4 tcp
2 mlx:ring
4 mlx:ring
END

line() { printf '%5s  %-9s  %12s  %10s  %8s  %10s  %s\n' "$@"; }
echo
line ranks backend "MB per rank" "ms forward" speed-up difference ""
for row in "${rows[@]}"; do
    line $row
done
echo
[ $failures = 0 ] || {
    say "$failures of ${#rows[@]} runs failed"
    exit 1
}
