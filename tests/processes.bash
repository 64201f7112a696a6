# What tests share that start others: they count faults, and wait for processes and for lines with a limit.
# Sourced, not run. GONE_TRIES and LINES_TRIES are of 50 ms each.
cases=0
faults=0
skips=()
fault() {
    echo "$(basename "$0" .sh): $*"
    faults=$((faults + 1))
}
# same WHAT GOT WANTED
same() {
    cases=$((cases + 1))
    [ "$2" = "$3" ] || fault "$1: got '$2', wanted '$3'"
}
parent() { ps -o ppid= -p "$1" | tr -d ' '; }
# A zombie is gone: its parent only has not looked yet.
alive() {
    local state
    state=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
    [[ $state != Z* ]]
}
# gone WHAT PID...: all of them, within GONE_TRIES.
gone() {
    local what=$1 pid tries=0 left=
    shift
    [ $# -gt 0 ] || fault "$what: no process was named"
    while [ $tries -lt "$GONE_TRIES" ]; do
        left=
        for pid; do
            alive "$pid" && left+=" $pid"
        done
        [ -z "$left" ] && break
        sleep 0.05
        tries=$((tries + 1))
    done
    same "$what: processes left" "$left" ""
    for pid in $left; do
        kill -KILL "$pid" 2>/dev/null
    done
}
# lines_in FILE COUNT: waits until it has so many.
lines_in() {
    local tries=0
    until [ "$({ wc -l <"$1" || echo 0; } 2>/dev/null)" -ge "$2" ]; do
        sleep 0.05
        tries=$((tries + 1))
        [ $tries -lt "$LINES_TRIES" ] || { fault "$1 never had $2 lines"; return 1; }
    done
}
# await: the exit status of $job into $status.
await() {
    wait "$job" 2>/dev/null
    status=$?
}

# run_tests TEST...: these, or all functions test_*. HOCKET_TEST_TIMES=1 says how long each takes.
run_tests() {
    local name test before began
    name=$(basename "$0" .sh)
    for test in ${*:-$(declare -F | awk '$3 ~ /^test_/ {print $3}')}; do
        before=$faults
        began=$SECONDS
        $test
        [ "$faults" = "$before" ] || echo "$name: $test failed"
        [ -z "${HOCKET_TEST_TIMES:-}" ] || echo "$name: $test took $((SECONDS - began)) s"
    done
    finish
}
# finish [ALL]: the end. What is in skips was left out; ALL of it: nothing was tried.
finish() {
    local name skip
    name=$(basename "$0" .sh)
    for skip in "${skips[@]+"${skips[@]}"}"; do
        echo "$name: skipped: $skip"
    done
    echo "$name: $cases checks, $faults faults"
    [ "$faults" = 0 ] || exit 1
    [ ${#skips[@]} -lt "${1:-999}" ] || exit 77
    exit 0
}
