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

# A second way from two to three, whose middle takes less than its ends believe, and says nothing of it. Large
# packets must go one by one for that.
echo "an MTU that is too large"
narrowed=no
narrow()
{
    local hub="$name-hub" i
    ip -n "$hub" link add narrow type bridge && ip -n "$hub" link set narrow up || return 1
    for i in 2 3; do
        ip -n "$hub" link add "thin$i" mtu 600 type veth peer name other mtu 1500 netns "$name-$i" &&
            ip -n "$hub" link set "thin$i" master narrow &&
            ip -n "$hub" link set "thin$i" up &&
            ip -n "$name-$i" link set other up gso_max_segs 1 || return 1
    done
    ip -n "$name-2" route add $three/32 dev other && ip -n "$name-3" route add $two/32 dev other
}
if narrow 2>/dev/null; then
    doctor
    if [ $status = 0 ]; then
        echo "this kernel's veth takes packets above its MTU, so none is too large"
    else
        narrowed=yes
        for pair in "$two cannot reach $three at $three" "$three cannot reach $two at $two"; do
            says "$pair" "$pair: a connection opens and single bytes pass, but large messages do not \(is an MTU too large\?\)\."
        done
        [ "$(grep -c MTU "$work/out.0")" = 2 ] || fail "others have a wrong MTU"
    fi
    ip -n "$name-2" link del other
    ip -n "$name-3" link del other
else
    echo "there is no second way here, or no gso_max_segs"
fi

echo "IPv6 addresses"
for i in 1 2 3; do
    ip -n "$name-$i" address add "fd00:79::1$i/64" dev cable nodad 2>/dev/null
done
printf '[{"ssh": "%s", "ips": ["fd00:79::11"]}, {"ssh": "%s", "ips": ["fd00:79::12"]}]' $one $two >"$work/six"
if ip netns exec "$name-1" ping -6 -c 1 -W 2 fd00:79::12 >/dev/null 2>&1 ||
    [ -n "$(ip -n "$name-1" -6 address show dev cable scope global)" ]; then
    ip netns exec "$name-0" "$hocket" doctor --ssh "ssh -F $work/ssh_config" --hostfile "$work/six" \
        >"$work/out.0" 2>"$work/out.1" </dev/null || fail "the status is $?"
    for i in 1 2; do
        says "host $i's address" "10\.79\.0\.1$i +.* fd00:79::1$i"
    done
    says "the end" "All is well\."
else
    echo "there is no IPv6 here"
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

[ "$failures" = 0 ] && echo "doctor says where it hurts (a slow cable: $slowed, a wrong MTU: $narrowed)"
[ "$failures" = 0 ]
