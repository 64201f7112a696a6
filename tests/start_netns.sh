#!/usr/bin/env bash
# `hocket run` on hosts with addresses of their own: network namespaces joined by veth to a bridge, each with
# an sshd. Ranks that meet, and a cable that is cut. Everything is removed at the end.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=${HOCKET_BUILD_DIR:-$source_dir/build}
hocket=$build/bin/hocket
rank=$build/tests/programs/rank
name="hs$$"
work="$(mktemp -d)"
spaces="hub 0 1 2"
source "$source_dir/tests/namespaces.bash"
source "$source_dir/tests/sshd.bash"
# An sshd whose way to the other end is cut waits for it for hours.
stop_sessions() {
    local i pid
    for i in 1 2; do
        for pid in $(ip netns pids "$name-$i" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null
        done
    done
}
trap 'stop_sshd; stop_sessions; clean_up' EXIT
[ -x "$hocket" ] && [ -x "$rank" ] || { echo "start_netns: the command was not built"; exit 1; }
unset HOCKET_BACKEND HOCKET_TUNE

CUT_SECONDS=45 # for all to be gone when the way to a host is cut: 30 of silence, and some to end
join_hosts 10.78.0 || skip "veth and bridges do not work here"
make_keys
serve_spaces 10.78.0 1 2
hosts=10.78.0.11,10.78.0.12
ssh="ssh -F $work/ssh_config -o ServerAliveInterval=1 -o ServerAliveCountMax=2" # sooner than by itself
run() {
    timeout -s KILL 90 ip netns exec "$name-0" "$hocket" run --ssh "$ssh" "$@"
}
run --hosts $hosts --timeout 30 true || fail "no host answers"

echo "ranks of two hosts meet"
run --hosts $hosts -n 2 --backend tcp --timeout 50 -- "$build/examples/hello" >"$work/out.0" 2>&1
[ "$? $(sort "$work/out.0" | tr '\n' ' ')" = "0 rank 0 of 4: 4 8 12 16 rank 1 of 4: 4 8 12 16 rank 2 of 4: 4 \
8 12 16 rank 3 of 4: 4 8 12 16 " ] || fail "hello on two hosts"
printf '[{"ssh": "10.78.0.12", "ips": ["10.78.0.12"]}, {"ssh": "10.78.0.11"}]' >"$work/hostfile"
[ "$(run --hostfile "$work/hostfile" -- sh -c 'echo ${HOCKET_COORDINATOR%:*}' | sort -u)" = 10.78.0.12 ] ||
    fail "the coordinator is where rank 0 is"

alive() {
    local state
    state=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
    [[ $state != Z* ]]
}
# start_family: $job is the launcher's pid, $pids are the ranks' and their children's.
start_family() {
    rm -f "$work"/out.* # the child may open it after the first look
    ip netns exec "$name-0" "$hocket" run --ssh "$ssh" --hosts $hosts --timeout 100 \
        -- "$rank" family deaf >"$work/out.0" 2>"$work/out.1" </dev/null &
    job=$!
    for tries in $(seq 400); do
        [ "$(grep -c '^pids' "$work/out.0")" = 2 ] && break
        sleep 0.05
    done
    pids=$(sed -n 's/^pids //p' "$work/out.0" | tr '\n' ' ')
    [ "$(echo $pids | wc -w)" = 6 ] || fail "there are no ranks"
}
# gone SECONDS
gone() {
    local pid left until=$((SECONDS + $1))
    while :; do
        left=
        for pid in $pids; do
            alive "$pid" && left+=" $pid"
        done
        [ -z "$left" ] && return
        [ $SECONDS -lt $until ] || break
        sleep 0.1
    done
    fail "processes are left:$left"
    kill -KILL $left
}

echo "front is killed"
start_family
kill -KILL $job
wait $job 2>/dev/null
gone 10

echo "a cable is cut"
start_family
began=$SECONDS
ip -n "$name-hub" link set port2 down
wait $job
status=$?
[ $status = 125 ] || fail "the status is $status"
[ $((SECONDS - began)) -lt 20 ] || fail "front took $((SECONDS - began)) s"
grep -q '^hocket run: The host 10.78.0.12 is lost: ' "$work/out.1" || fail "nobody says which host is lost"
gone $CUT_SECONDS

[ "$failures" = 0 ] && echo "all hosts did as told"
[ "$failures" = 0 ]
