#!/usr/bin/env bash
# What the command says, word for word. tests/golden/NAME.args holds the arguments as the shell would
# read them; NAME.stdout, NAME.stderr and NAME.exit hold what comes out. `tests/golden.sh --update`
# writes these anew: look at the difference before committing it.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
[ -x "$hocket" ] || { echo "golden: $hocket was not built"; exit 1; }
# macOS has no timeout; there only ctest's limit is left.
command -v timeout >/dev/null || timeout() { shift && "$@"; }
hocket() { timeout 20 "$hocket" "$@"; }
unset HOCKET_BACKEND HOCKET_TUNE

update=no
[ "${1:-}" = --update ] && update=yes
got=$(mktemp -d) || exit 1
trap 'rm -rf "$got"' EXIT

cases=0
faults=0
for args in tests/golden/*.args; do
    name=$(basename "$args" .args)
    eval "set -- $(cat "$args")"
    hocket "$@" >"$got/$name.stdout" 2>"$got/$name.stderr" </dev/null
    echo $? >"$got/$name.exit"
    cases=$((cases + 1))
    for part in stdout stderr exit; do
        if [ $update = yes ]; then
            cp "$got/$name.$part" "tests/golden/$name.$part"
        elif ! diff -u "tests/golden/$name.$part" "$got/$name.$part"; then
            echo "golden: $name.$part differs"
            faults=$((faults + 1))
        fi
    done
done
echo "golden: $cases command lines, $faults differences"
[ "$faults" = 0 ]
