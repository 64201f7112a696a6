#!/usr/bin/env bash
# Ranks on three hosts: network namespaces joined by veth to a bridge in a fourth. A run that works, a
# rank that is killed, a cable that is cut, a link that is slow. Everything is removed at the end.
set -u

build="${HOCKET_BUILD_DIR:-build}"
worker="$build/tests/programs/worker"
name="hk$$"
work="$(mktemp -d)"
port=7700

spaces="hub 0 1 2"
source "$(dirname "$0")/namespaces.bash"

join_hosts 10.77.0 || skip "veth and bridges do not work here"

# start SECONDS ELEMENTS TIMEOUT: the three ranks; their pids are in pids.
start()
{
    port=$((port + 1))
    pids=()
    rm -f "$work"/out.*
    for i in 0 1 2; do
        printf 'the secret of three hosts' >"$work/secret.$i"
        HOCKET_BACKEND=tcp HOCKET_RANK=$i HOCKET_WORLD_SIZE=3 HOCKET_TIMEOUT=$3 \
            HOCKET_COORDINATOR="10.77.0.10:$port" HOCKET_SECRET_FILE="$work/secret.$i" \
            ip netns exec "$name-$i" timeout -s KILL 60 "$worker" "$1" "$2" \
            >"$work/out.$i" 2>&1 </dev/null &
        pids+=($!)
    done
}

now()
{
    cut -d' ' -f1 /proc/uptime
}

# within LEAST MOST FROM LINE: "at" of the line lies between the two, in seconds after FROM.
within()
{
    echo "$4" | sed -n 's/.* at \([0-9.]*\): .*/\1/p' |
        awk -v least="$1" -v most="$2" -v from="$3" \
            '{ good = $1 - from >= least && $1 - from <= most; print "  " $1 - from " s" } END { exit !good }'
}

# expect RANK WORDS LEAST MOST FROM: the line of the rank has the words, and came in time.
expect()
{
    local line
    line="$(grep "^rank" "$work/out.$1")"
    case "$line" in
    *"$2"*) within "$3" "$4" "$5" "$line" || fail "rank $1 answered at another time" ;;
    *) fail "rank $1 should say \"$2\"" ;;
    esac
}

worker_of() # the worker's pid of a rank: under ip and timeout
{
    ip netns pids "$name-$1" | while read -r pid; do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = worker ] && echo "$pid"
    done
}

echo "three hosts add up"
began=$(now)
start 1 100000 10
wait "${pids[@]}"
for i in 0 1 2; do
    expect "$i" "rank $i: ok" 0 20 "$began"
done

echo "a slow link is only slow"
command -v tc >/dev/null &&
    ip netns exec "$name-2" tc qdisc add dev cable root tbf rate 20mbit burst 32kbit latency 400ms
began=$(now)
start 2 100000 10
wait "${pids[@]}"
for i in 0 1 2; do
    expect "$i" "rank $i: ok" 0 20 "$began"
done
command -v tc >/dev/null && ip netns exec "$name-2" tc qdisc del dev cable root

echo "a rank on another host is killed"
start 30 1000 10
sleep 3
victim="$(worker_of 2)"
began=$(now)
kill -9 $victim
wait "${pids[@]}" 2>/dev/null
for i in 0 1; do
    expect "$i" "peer lost ranks 2 " -0.02 3 "$began"
done

echo "the cable of a host is cut"
start 30 1000 3
sleep 3
began=$(now)
ip -n "$name-hub" link set port2 down
wait "${pids[@]}"
for i in 0 1; do
    expect "$i" "timeout ranks 2 " 2 6 "$began"
done
expect 2 "timeout ranks 0,1 " 2 6 "$began"
ip -n "$name-hub" link set port2 up

echo "without a deadline, a host that has gone silent is noticed by its connections"
start 50 1000 inf
sleep 3
began=$(now)
ip -n "$name-hub" link set port2 down
wait "${pids[@]}"
for i in 0 1; do
    expect "$i" "peer lost ranks 2 " 10 45 "$began"
done

[ "$failures" = 0 ] || exit 1
echo "ranks on three hosts work, and fail as they must"
