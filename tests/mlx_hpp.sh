#!/usr/bin/env bash
# The programs of tests/mlx, on MLX and hocket/mlx.hpp: what they find is said by themselves. Operations
# and derivatives on 1 to 4 ranks; failures on 3, of which the script sees that the right ones live on.
set -euo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"
source tests/processes.bash

build=${HOCKET_BUILD_DIR:-build}
if ! ls "$build"/lib/libhocket-mlx.* >/dev/null 2>&1; then
    echo "skipped: there is no libhocket-mlx, since no MLX was found when this was built"
    exit 77
fi
unset "${!HOCKET_@}"
export HOCKET_TIMEOUT=30

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# ranks WHAT STATUS N PROGRAM...: N ranks of it, whose job ends with STATUS.
ranks() {
    local what=$1 wanted=$2 n=$3 status=0
    shift 3
    "$build/bin/hocket" run -n "$n" --on-failure keep --timeout 60 -- "$build/tests/mlx/$@" \
        >"$output" 2>&1 || status=$?
    same "$what on $n ranks" "$status" "$wanted"
    [ "$status" = "$wanted" ] || cat "$output"
}

ranks "MLX's operations over groups of C" 0 1 group
for n in 1 2 3 4; do
    ranks operations 0 $n operations
    ranks derivatives 0 $n gradients
done
for failure in arguments leave kill mismatch lengths abort; do
    wanted=0 living=3
    [ $failure = kill ] && wanted=137 living=2
    ranks "$failure" $wanted 3 failures $failure
    same "$failure: ranks that live on" "$(grep -c '^lives on$' "$output")" $living
done

[ $faults = 0 ] || exit 1
echo "mlx_hpp: $cases cases"
