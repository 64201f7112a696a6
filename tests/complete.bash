# What the tests of completion share. A shell on a terminal of its own is typed into; its TAB inserts
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

cases=0
faults=0

# check GOT: compares with what is expected, line by line.
check() {
    local typed expected answer
    while IFS=$'\t' read -r typed expected <&3; do
        cases=$((cases + 1))
        IFS= read -r answer <&4 || answer="nothing at all"
        if [ "$answer" != "$expected" ]; then
            echo "$suite: '$typed' gives '$answer' instead of '$expected'"
            faults=$((faults + 1))
        fi
    done 3<"$work/cases" 4<"$1"
}

need_terminal() {
    if ! command -v script >/dev/null || ! terminal true >/dev/null 2>&1 </dev/null; then
        echo "$suite: there is no command script, which gives a shell a terminal"
        exit 77
    fi
}
