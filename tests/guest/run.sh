#!/usr/bin/env bash
# run.sh SCRIPT [NAME=VALUE...]: runs a script of tests in the guest, with the build to be tested in
# HOCKET_BUILD_DIR. The last line is the count that CI reads; exits with 77, saying why, where there
# can be no guest.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "${HOCKET_BUILD_DIR:-build}")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
tests/guest/setup.sh >"$log" 2>&1
status=$?
if [ $status = 77 ]; then
    grep '^skipped: ' "$log"
    echo "0 passed, 0 failed, 1 skipped"
    exit 77
elif [ $status != 0 ]; then
    cat "$log"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi

tests/guest/boot.sh "$1" "HOCKET_BUILD_DIR=$build" "${@:2}" | tee "$log"
status=${PIPESTATUS[0]}
[ $status != 125 ] || echo "0 passed, 1 failed, 0 skipped"    # the guest did not come to count
exit $status
