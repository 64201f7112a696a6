#!/usr/bin/env bash
# Builds one preset and runs its tests: check.sh release|debug|asan|ubsan|tsan.
# The last line is the count that CI reads: "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.."

preset=${1:-release}
build=build-$preset
[ "$preset" = release ] && build=build

# Two programs of several ranks at a time: more would make each other's deadlines meaningless.
TEST_JOBS=${TEST_JOBS:-2}

export MAKEFLAGS=--no-print-directory
cmake --preset "$preset" >/dev/null || exit 1
cmake --build --preset "$preset" -j"${JOBS:-2}" || exit 1

runner=()
tests=()
if [ "$preset" != release ]; then
    tests=(--label-exclude tree)    # what these check does not depend on the flavour
fi
# ThreadSanitizer's map of memory needs addresses that are not spread too far.
if [ "$preset" = tsan ] && command -v setarch >/dev/null && setarch -R true 2>/dev/null; then
    runner=(setarch -R)
fi

report=$PWD/$build/tests.xml
rm -f "$report"
"${runner[@]}" ctest --test-dir "$build" --output-on-failure --timeout 600 -j"$TEST_JOBS" \
    --no-tests=ignore --output-junit "$report" "${tests[@]}"
status=$?

attributes=$(sed -n '/<testsuite/,/>/p' "$report" | tr '\n' ' ')
number() { sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" <<<"$attributes"; }
total=$(number tests)
failed=$(number failures)
skipped=$(number skipped)
cases=$(grep -o '\[  PASSED  \] [0-9]* test' "$report" | awk '{n += $4} END {print n + 0}')
echo "$preset: the programs among them ran $cases cases that passed"
echo "$((total - failed - skipped)) passed, $failed failed, $skipped skipped"
exit $status
