#!/usr/bin/env bash
# The main job: a real language model answers a prompt on one rank, then on two that share its layers (tp),
# then on two that have half of them each (pp). Prints a table and fails when a run does, or when the ranks
# together say something else than one alone. PROMPT, TOKENS and DEVICE may be set.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

SECONDS_MAX=300 # for one run
PROMPT=${PROMPT:-Explain in a few sentences what a symphony orchestra is.}
TOKENS=${TOKENS:-64}
DEVICE=${DEVICE:-mlx}

say() { echo "demo: $*" >&2; }

need_model
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# field NAME: a value of the one line of JSON among what the run said.
field() { sed -n "s/.*\"$1\": \"\{0,1\}\([^]\",}[]*\).*/\1/p" "$work/err"; }
ids() { sed -n 's/.*"tokens": \[\([0-9,]*\)\].*/\1/p' "$work/err"; }

failures=0 alone=
rows=()
say "prompt: $PROMPT"
while read -r ranks way; do
    say "$ranks rank(s)$([ "$ranks" = 1 ] || echo ", $way over shm"): loading"
    build/bin/hocket run -n "$ranks" --backend shm --timeout $SECONDS_MAX -- build/examples/llm \
        --model $MODEL --prompt "$PROMPT" --tokens "$TOKENS" --parallel "$way" --device "$DEVICE" \
        --json 2>"$work/err" </dev/null
    status=$?
    [ "$ranks" = 1 ] && alone=$(ids)
    name=$way
    [ "$ranks" = 1 ] && name=alone
    if [ $status != 0 ] || [ -z "$(ids)" ]; then
        cat "$work/err" >&2
        rows+=("$ranks $name - - - - - - FAILED")
        failures=$((failures + 1))
        continue
    fi
    verdict=identical
    if [ "$(ids)" != "$alone" ]; then
        verdict=DIFFERENT
        failures=$((failures + 1))
    fi
    rows+=("$(awk -v n="$ranks" -v way="$name" -v pre="$(field prefill_rate)" -v v="$verdict" \
              -v dec="$(field decode_rate)" -v w="$(field weight_mb)" -v r="$(field resident_mb)" \
              -v c="$(field communicating)" -v wait="$(field waiting)" \
              'BEGIN { printf "%s %s %.1f %.1f %.0f %.0f %.1f%% %.1f%% %s", n, way, pre, dec, w, r,
                       100 * c, 100 * wait, v }')")
done <<END
1 tp
2 tp
2 pp
END

line() { printf '%5s  %-6s  %11s  %11s  %10s  %11s  %10s  %10s  %s\n' "$@"; }
echo
line ranks way prefill decode weights resident communi- "of it" ""
line "" "" tokens/s tokens/s "MB a rank" "MB a rank" cating waiting ""
for row in "${rows[@]}"; do
    line $row
done
echo
[ $failures = 0 ] || {
    say "$failures of ${#rows[@]} runs failed"
    exit 1
}
