# How tests of the command begin; sourced first, by its own path, not run. Sets source (the tree), build, hocket, and
# work, a folder of the test's own, where it then is and which goes at the end.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source=$PWD
build=${HOCKET_BUILD_DIR:-$PWD/build}
hocket=$build/bin/hocket
# need PROGRAM...: without them the tree is not built.
need() {
    local program
    for program; do
        [ -x "$program" ] || { echo "$(basename "$0" .sh): $program was not built"; exit 1; }
    done
}
need "$hocket"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
