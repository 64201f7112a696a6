#!/usr/bin/env bash
# Two ranks on each of two hosts: network namespaces joined by one cable, whose bytes are counted. What
# crosses it must do so once, and a rank that is killed on the other host must be named by all.
set -u

build="${HOCKET_BUILD_DIR:-build}"
rounds="$build/tests/programs/rounds"
worker="$build/tests/programs/worker"
name="hh$$"
work="$(mktemp -d)"
port=7800
bytes=$((8 << 20))
times=3

spaces="0 1"
source "$(dirname "$0")/namespaces.bash"

make_hosts()
{
    ip netns add "$name-1" &&
        ip -n "$name-0" link add cable type veth peer name cable netns "$name-1" || return 1
    for i in 0 1; do
        ip -n "$name-$i" address add "10.78.0.1$i/24" dev cable
        ip -n "$name-$i" link set cable up
        ip -n "$name-$i" link set lo up
    done
}
make_hosts || skip "veth does not work here"

# start BACKEND HOSTS COMMAND...: a rank for each letter of HOSTS, 0 or 1; their pids are in pids.
start()
{
    local backend="$1" hosts="$2"
    shift 2
    port=$((port + 1))
    pids=()
    rm -f "$work"/out.*
    for ((i = 0; i < ${#hosts}; i++)); do
        printf 'the secret of two hosts' >"$work/secret.$i"
        HOCKET_BACKEND=$backend HOCKET_RANK=$i HOCKET_WORLD_SIZE=${#hosts} HOCKET_TIMEOUT=20 \
            HOCKET_HOST="host${hosts:$i:1}" HOCKET_COORDINATOR="10.78.0.10:$port" \
            HOCKET_SECRET_FILE="$work/secret.$i" \
            ip netns exec "$name-${hosts:$i:1}" timeout -s KILL 60 "$@" \
            >"$work/out.$i" 2>&1 </dev/null &
        pids+=($!)
    done
}

on_the_wire() # bytes so far, both ways
{
    ip netns exec "$name-0" cat /sys/class/net/cable/statistics/{tx,rx}_bytes |
        awk '{ sum += $1 } END { print sum }'
}

# measure BACKEND COLLECTIVE: `crossed` becomes the bytes of a round, in hundredths of the vector.
measure()
{
    local before after
    before=$(on_the_wire)
    start "$1" 0011 "$rounds" "$2" "$bytes" "$times"
    wait "${pids[@]}"
    after=$(on_the_wire)
    for i in 0 1 2 3; do
        grep -q "^rank $i: ok, backend $1" "$work/out.$i" || fail "$2 over $1, rank $i"
    done
    crossed=$(((after - before) * 100 / times / bytes))
    echo "  $2 over $1: $crossed % of the vector crossed," \
        "$(sed -n 's/^rank 0: ok.*, //p' "$work/out.0")"
}

# once COLLECTIVE PERCENT: of the vector, what must cross.
once()
{
    measure shm "$1"
    # Half as much again for headers and for what is sent twice because tbf has dropped it.
    [ "$crossed" -ge "$2" ] && [ "$crossed" -lt $(($2 * 150 / 100)) ] ||
        fail "$1: $crossed % of the vector crossed instead of $2 %"
    measure tcp "$1"
    [ "$crossed" -ge $(($2 * 150 / 100)) ] || fail "$1 over tcp is the better one"
}

if command -v tc >/dev/null; then
    for i in 0 1; do
        ip netns exec "$name-$i" tc qdisc add dev cable root tbf rate 400mbit burst 256kbit \
            latency 400ms || echo "(tbf does not work here: the link stays fast)"
    done
fi

echo "each byte crosses once"
once all_reduce 200
once reduce_scatter 100
once all_gather 100
once broadcast 100

echo "a rank on another host is killed"
start shm 0101 "$worker" 30 300000
sleep 3
victim="$(ip netns pids "$name-1" | while read -r pid; do
    tr '\0' '\n' <"/proc/$pid/environ" | grep -q '^HOCKET_RANK=3$' &&
        [ "$(cat "/proc/$pid/comm")" = worker ] && echo "$pid"
done)"
kill -9 $victim
wait "${pids[@]}" 2>/dev/null
for i in 0 1 2; do
    grep -q "^rank $i: peer lost ranks 3 .*all_reduce" "$work/out.$i" ||
        fail "rank $i should name rank 3"
done

[ "$failures" = 0 ] || exit 1
echo "ranks that share hosts share the wire too"
