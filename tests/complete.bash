# What the tests of completion share; sourced, not run. A shell on a terminal of its own is typed into; its TAB inserts
# all that is offered, and a function `hocket` writes down the arguments that it is then called with.

LIMIT=40    # seconds for all that is typed

# terminal COMMAND: runs it on a pseudo-terminal that gets our stdin. script of util-linux or BSD.
terminal() {
    if script --version >/dev/null 2>&1; then
        timeout $LIMIT script -qec "$1" /dev/null
    else
        script -q /dev/null sh -c "$1"
    fi
}

source tests/processes.bash
suite=$(basename "$0" .sh)

# open_place: a folder with something to complete, where the test then is; $work is above it, $hocket the command.
open_place() {
    need_terminal
    hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/place" && cd "$work/place" || exit 1
    mkdir 'folder one' && touch plain 'file two' && printf '#!/bin/sh\n' >prog && chmod +x prog
    touch "$work/got"
}
# keys: each case of standard input as it is typed, with its TAB.
keys() { cut -f1 | sed $'s/$/\t/'; }

# check_typed SHELL: types $work/typed into it, and compares what hocket was called with, line by line.
check_typed() {
    local typed expected answer
    terminal "$1" <"$work/typed" >"$work/screen" 2>&1
    while IFS=$'\t' read -r typed expected <&3; do
        cases=$((cases + 1))
        IFS= read -r answer <&4 || answer="nothing at all"
        [ "$answer" = "$expected" ] || fault "'$typed' gives '$answer' instead of '$expected'"
    done 3<"$work/cases" 4<"$work/got"
    [ "$faults" = 0 ] || cat -v "$work/screen" | head -80
}

need_terminal() {
    if ! command -v script >/dev/null || ! terminal true >/dev/null 2>&1 </dev/null; then
        echo "$suite: there is no command script, which gives a shell a terminal"
        exit 77
    fi
}
