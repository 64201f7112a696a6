#!/usr/bin/env bash
# The manual pages are such as man and mandoc like, and say on the screen what the tables say.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export LC_ALL=C MANPAGER=cat MANWIDTH=80
unset MANOPT GROFF_NO_SGR

faults=0
fault() {
    echo "manual_lint: $*"
    faults=$((faults + 1))
}

# groff is what man of man-db formats with; BSD and macOS have mandoc.
readers=
command -v groff >/dev/null && readers+=" groff"
command -v mandoc >/dev/null && readers+=" mandoc"
if [ -z "$readers" ]; then
    echo "manual_lint: neither groff nor mandoc is here"
    exit 77
fi

"$hocket" help --write "$work" || exit 1
for page in "$work"/man/man*/*; do
    name=$(basename "$page")
    for reader in $readers; do
        case $reader in
            groff) groff -man -Tascii -ww -P-c "$page" >"$work/shown" 2>"$work/complaints" ;;
            mandoc) mandoc -man -Tlint "$page" >"$work/complaints" 2>&1
                    mandoc -man -Tascii "$page" >"$work/shown" ;;
        esac
        if [ -s "$work/complaints" ]; then
            fault "$reader about $name:"
            cat "$work/complaints"
        fi
        # Without what prints a letter over another, and laid out in one line.
        sed $'s/.\b//g' "$work/shown" | tr -s ' \n' ' ' >"$work/$name.$reader"
    done
done

shows() {
    for reader in $readers; do
        grep -qF -- "$2" "$work/$1.$reader" || fault "$reader does not show '$2' in $1"
    done
}
shows hocket-run.1 'hocket run [-n RANKS] [OPTION ...] [--] PROGRAM [ARGUMENT ...]'
shows hocket-run.1 '-n RANKS how many ranks to start on each host (1, or what the hostfile says)'
shows hocket-run.1 '--tag-output put "[rank] " before each line of output'
shows hocket-help.1 "completion come from the same tables, so hocket help --write ~/.local/share is"
shows hocket-bench.1 '--bytes SIZES from:to (4:64M), or sizes'
shows hocket.7 '.RANK.json after it'
shows hocket.7 "HOCKET_SECRET_FILE a file with the job's secret"
shows hocket.1 'four ranks of a program on this machine'

echo "manual_lint: $(ls "$work"/man/man* | grep -c hocket) pages for$readers, $faults faults"
[ "$faults" = 0 ]
