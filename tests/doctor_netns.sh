#!/usr/bin/env bash
# `hocket doctor --hosts` on hosts with addresses of their own: network namespaces with an sshd each. A slow
# cable and a blocked way are named; a doctor that is killed while it dials leaves nothing.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=${HOCKET_BUILD_DIR:-$source_dir/build}
hocket=$build/bin/hocket
name="hd$$"
work="$(mktemp -d)"
spaces="hub 0 1 2 3"
source "$source_dir/tests/namespaces.bash"
source "$source_dir/tests/sshd.bash"
trap 'stop_sshd; clean_up' EXIT
[ -x "$hocket" ] || { echo "doctor_netns: the command was not built"; exit 1; }
unset "${!HOCKET_@}"

GONE_TRIES=200 # of 50 ms
join_hosts 10.79.0 || skip "veth and bridges do not work here"
make_keys
serve_spaces 10.79.0 1 2 3
one=10.79.0.11 two=10.79.0.12 three=10.79.0.13
command=("$hocket" doctor --ssh "ssh -F $work/ssh_config" --hosts $one,$two,$three)
doctor() {
    timeout -s KILL 100 ip netns exec "$name-0" "${command[@]}" >"$work/out.0" 2>"$work/out.1" </dev/null
    status=$?
}
# says WHAT REGEX: a line is like this.
says() {
    grep -qE -- "^$2\$" "$work/out.0" || fail "$1"
}

echo "all is well"
doctor
[ $status = 0 ] || fail "the status is $status"
says "the end" "All is well\."

echo "a slow cable"
slowed=no
if command -v tc >/dev/null &&
    ip netns exec "$name-3" tc qdisc add dev cable root tbf rate 8mbit burst 16kb latency 50ms 2>/dev/null; then
    slowed=yes
    doctor
    [ $status = 1 ] || fail "the status is $status"
    for far in $one $two; do
        says "slow to $far" "$three to $far is slow: (0\.[5-9][0-9]*|1\.0[0-9]*) MB/s where the others have [0-9]+\."
    done
    [ "$(grep -c slow "$work/out.0")" = 2 ] || fail "others are called slow"
    ip netns exec "$name-3" tc qdisc del dev cable root
else
    echo "there is no tc or no tbf here, so no cable is slowed"
fi

echo "a blocked way"
ip -n "$name-1" route add unreachable $two/32
doctor
[ $status = 1 ] || fail "the status is $status"
says "one to two" "$one cannot reach $two at $two: (No route to host|Host is unreachable)\."
says "two to one" "$two cannot reach $one at $one: no answer within 3 s\."
[ "$(grep -c 'cannot reach' "$work/out.0")" = 2 ] || fail "others are called blocked"
says "the table" "$one +- +blocked +[0-9.]+ / [0-9.]+"

echo "doctor is killed while it dials in vain"
ip netns exec "$name-0" "${command[@]}" >"$work/out.0" 2>"$work/out.1" </dev/null &
job=$!
for tries in $(seq 400); do
    # Two dials one: its guard, agent, who listens and who dials.
    pids=$(ip netns pids "$name-2" | while read -r pid; do
        grep -qa agent "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
    done)
    [ "$(grep -c . <<<"$pids")" -ge 4 ] && grep -qs ' 02 ' <(ip netns exec "$name-2" cat /proc/net/tcp) && break
    sleep 0.02
done
[ "$(grep -c . <<<"$pids")" -ge 4 ] || fail "nobody dials"
kill -KILL $job
wait $job 2>/dev/null
for tries in $(seq $GONE_TRIES); do
    left=$(for i in 1 2 3; do
        ip netns pids "$name-$i" | while read -r pid; do
            cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' ' ' | grep 'hocket agent'
        done
    done)
    [ -z "$left" ] && break
    sleep 0.05
done
[ -z "$left" ] || fail "processes are left: $left"

[ "$failures" = 0 ] && echo "doctor says where it hurts (a slow cable: $slowed)"
[ "$failures" = 0 ]
