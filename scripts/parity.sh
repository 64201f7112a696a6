#!/usr/bin/env bash
# Greedy text of a real model, token for token: prompts on one rank, then on ranks that share the model in
# every way. Prints a table of which are the same, and fails when one is not. TOKENS=64, DEVICE=mlx,
# WEIGHTS=f32 and BACKENDS="shm tcp" may be set.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

TOKENS=${TOKENS:-64}
DEVICE=${DEVICE:-mlx}
WEIGHTS=${WEIGHTS:-f32}
BACKENDS=${BACKENDS:-shm tcp}
SECONDS_MAX=300 # for one run

PROMPTS=(
    "What is the capital of France?"
    "Write a short story about a dog."
    "Explain in two sentences why the sky is blue."
    "List the first ten prime numbers: 2, 3, 5"
    "Schreibe ein Gedicht über 雪 und ❄️."
)

say() { echo "parity: $*" >&2; }
need_model
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# tokens RANKS PARALLEL BACKEND PROMPT: what was generated, as numbers.
tokens() {
    build/bin/hocket run -n "$1" --backend "$3" --timeout $SECONDS_MAX -- build/examples/llm \
        --model $MODEL --prompt "$4" --tokens "$TOKENS" --parallel "$2" --device "$DEVICE" \
        --weights "$WEIGHTS" --json 2>"$work/err" >"$work/out" </dev/null
    local status=$?
    sed -n 's/.*"tokens": \[\([0-9,]*\)\].*/\1/p' "$work/err"
    [ $status = 0 ] || grep '^llm' "$work/err" | head -n 3 >&2
    return $status
}

rows=()
failures=0
wanted=()
say "device $DEVICE, weights $WEIGHTS, ${#PROMPTS[@]} prompts, at most $TOKENS tokens each"
compare() {
    local ranks=$1 way=$2 backend=$3 same=0 i got
    for i in "${!PROMPTS[@]}"; do
        got=$(tokens "$ranks" "$way" "$backend" "${PROMPTS[$i]}") || failures=$((failures + 1))
        [ -n "${wanted[$i]:-}" ] || wanted[$i]=$got
        if [ -n "$got" ] && [ "$got" = "${wanted[$i]}" ]; then
            same=$((same + 1))
        else
            failures=$((failures + 1))
            say "$ranks ranks, $way over $backend, prompt $i: $got, not ${wanted[$i]}"
        fi
    done
    say "$ranks ranks, $way over $backend: $same of ${#PROMPTS[@]} the same"
    rows+=("$ranks $way $backend $same/${#PROMPTS[@]}")
}

compare 1 tp shm
for backend in $BACKENDS; do
    for case in "2 tp" "3 tp" "2 pp" "3 pp" "4 tp,pp"; do
        compare $case "$backend"
    done
done
if [ "$DEVICE" = mlx ]; then
    compare 2 tp mlx:ring
    compare 2 pp mlx:ring
fi

counts=$(for i in "${!wanted[@]}"; do tr ',' '\n' <<<"${wanted[$i]}" | wc -l; done | tr '\n' ' ')
echo
printf '%5s  %-8s  %-8s  %s\n' ranks parallel backend "prompts that are the same"
for row in "${rows[@]}"; do
    printf '%5s  %-8s  %-8s  %s\n' $row
done
echo
echo "tokens of the prompts: $counts"
[ $failures = 0 ]
