#!/usr/bin/env bash
# The program of `make demo-mlp` on the real weights: 2 ranks over tcp get what one gets, uneven shares too; and a
# model that is not there is an error on every rank.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"
build=${HOCKET_BUILD_DIR:-build}
mlp=$build/examples/mlp

if ! ls "$build"/lib/libhocket-mlx.* >/dev/null 2>&1; then
    echo "demo-mlp: skipped, libhocket-mlx is not built here"
    exit 77
fi
if ! why=$(scripts/model.sh 2>&1); then
    echo "demo-mlp: skipped, the model cannot be downloaded:"
    echo "$why"
    exit 77
fi

failures=0
fail() {
    echo "demo-mlp: $*"
    failures=$((failures + 1))
}

# agrees RANKS MODE LIMIT
agrees() {
    local result difference
    result=$("$build/bin/hocket" run -n "$1" --backend tcp --timeout 90 -- \
             "$mlp" --mode "$2" --rows 8 --runs 1 --layer 3 --json) || fail "$1 ranks: status $?"
    difference=$(sed -n 's/.*"difference": \([^,}]*\).*/\1/p' <<<"$result")
    awk -v d="$difference" 'BEGIN { exit !(d ~ /^[0-9.e+-]+$/ && d + 0 <= 1e-4) }' ||
        fail "$1 ranks, $2: they differ from one by '$difference'"
    [ "$(wc -l <<<"$result")" = 1 ] || fail "$1 ranks: more than rank 0 printed: $result"
}

agrees 2 lazy
agrees 5 eager

if complaint=$("$build/bin/hocket" run -n 2 --backend tcp --timeout 60 -- \
               "$mlp" --model /nowhere.gguf 2>&1); then
    fail "a model that is not there is no error"
fi
for rank in 0 1; do
    grep -q "rank $rank.*/nowhere.gguf" <<<"$complaint" ||
        fail "rank $rank does not name the model that is not there: $complaint"
done

[ "$failures" = 0 ] || exit 1
echo "demo-mlp: 2 ranks and 5 agree with one"
