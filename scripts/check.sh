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

# macOS has bash 3.2, for which an empty array is an unset variable.
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
${runner[@]+"${runner[@]}"} ctest --test-dir "$build" --output-on-failure --timeout 600 -j"$TEST_JOBS" \
    --no-tests=ignore --output-junit "$report" --test-output-size-passed 1000000 \
    ${tests[@]+"${tests[@]}"}
status=$?

# ctest says which tests were skipped but not why; programs skip single cases, too.
awk '
    /<testcase / { name = $0; sub(/.*name="/, "", name); sub(/".*/, "", name); skipped = 0 }
    /<skipped / { skipped = 1 }
    /\[  SKIPPED \] [a-z]/ { print "skipped: " name ": " $0; next }
    skipped && /<system-out>/ { printing = 1; sub(/.*<system-out>/, "") }
    printing { done = sub(/<\/system-out>.*/, ""); if ($0 != "") print "skipped: " name ": " $0 }
    done { printing = skipped = done = 0 }
' "$report" | sort -u

attributes=$(sed -n '/<testsuite/,/>/p' "$report" | tr '\n' ' ')
number() { sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" <<<"$attributes"; }
total=$(number tests)
failed=$(number failures)
skipped=$(number skipped)
cases=$(grep -o '\[  PASSED  \] [0-9]* test' "$report" | awk '{n += $4} END {print n + 0}')
echo "$preset: $cases cases passed in the programs among them"
echo "$((total - failed - skipped)) passed, $failed failed, $skipped skipped"
exit $status
