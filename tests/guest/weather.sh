# Runs in the guest, where netem is: three ranks, a process each, on hosts that are network
# namespaces joined by veth to a bridge in a fourth, while every host's link delays, loses, reorders
# and repeats what is sent. TCP mends that, so sums must be right; only a host of which nothing
# arrives any more is a failure, and the deadline says which. Prints a line for each case and the
# count of them.
set -u
. tests/guest/cases.bash

worker="$HOCKET_BUILD_DIR/tests/programs/worker"
port=7700

# Emulation is about ten times slower than a processor: what must happen within a second of the
# deadline may take so many.
SLOWER=5
LIMIT=60          # seconds, for a whole run

make_hosts()
{
    ip netns add hub || return 1
    ip -n hub link add bridge type bridge || return 1
    ip -n hub link set bridge up
    for i in 0 1 2; do
        ip netns add "host$i" || return 1
        ip -n hub link add "port$i" type veth peer name cable netns "host$i" || return 1
        # Packets of one segment: otherwise netem would see, and lose, 64 KiB at a time.
        ip -n "host$i" link set cable gso_max_segs 1 || return 1
        ip -n "host$i" address add "10.77.0.1$i/24" dev cable
        ip -n "host$i" link set cable up
        ip -n "host$i" link set lo up
        ip -n hub link set "port$i" master bridge up
    done
}

# weather HOST NETEM...: what happens to all that the host sends; without NETEM the sky is clear.
weather()
{
    local host=$1
    shift
    ip netns exec "host$host" tc qdisc del dev cable root 2>/dev/null
    [ $# = 0 ] || ip netns exec "host$host" tc qdisc add dev cable root netem limit 10000 "$@"
}

# dropped: how many packets the weather of all hosts has lost.
dropped()
{
    for i in 0 1 2; do
        ip netns exec "host$i" tc -s qdisc show dev cable
    done | sed -n 's/.*(dropped \([0-9]*\),.*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

# start SECONDS ELEMENTS TIMEOUT: the three ranks; their pids are in pids.
start()
{
    port=$((port + 1))
    pids=()
    for i in 0 1 2; do
        echo 'the secret of three hosts' >"$work/secret.$i"
        HOCKET_BACKEND=tcp HOCKET_RANK=$i HOCKET_WORLD_SIZE=3 HOCKET_TIMEOUT=$3 \
            HOCKET_COORDINATOR="10.77.0.10:$port" HOCKET_SECRET_FILE="$work/secret.$i" \
            ip netns exec "host$i" timeout -s KILL "$LIMIT" "$worker" "$1" "$2" \
            >"$work/out.$i" 2>&1 </dev/null &
        pids+=($!)
    done
}

# waited LEAST MOST RANK: the call that failed took the rank so many seconds, by its own clock:
# putting the weather up takes the guest a second or two.
waited()
{
    sed -n 's/^rank.* after \([0-9.]*\) s in the call.*/\1/p' "$work/out.$3" |
        awk -v least="$1" -v most="$2" -v rank="$3" '
            { good = $1 >= least && $1 <= most
              printf "  rank %d waited %.2f s, should be %s to %s\n", rank, $1, least, most }
            END { exit !good }'
}

# mends LOSES NETEM...: under this weather, everywhere, all ranks end with right sums; LOSES is yes
# where packets must have been lost for it to count.
mends()
{
    local began lost wrong=0 loses=$1
    shift
    for i in 0 1 2; do
        weather "$i" "$@" || wrong=1
    done
    began=$(now)
    start 3 20000 30
    wait "${pids[@]}"
    for i in 0 1 2; do
        says "$i" "rank $i: ok" || wrong=1
    done
    lost=$(dropped)
    echo "  packets lost: $lost"
    [ "$loses" = no ] || [ "$lost" -gt 0 ] || wrong=1
    report "$*" "$began" "$wrong"
}

# The host still hears the others, but nothing that it sends arrives.
falls_silent()
{
    local began wrong=0 deadline=3
    for i in 0 1 2; do
        weather "$i"
    done
    began=$(now)
    start 30 1000 $deadline
    sleep 6    # they have met and are adding up
    weather 2 loss 100% || wrong=1
    wait "${pids[@]}"
    for i in 0 1; do
        says "$i" "rank $i: timeout ranks 2 " || wrong=1
    done
    says 2 "rank 2: timeout ranks " || wrong=1
    for i in 0 1 2; do
        waited $deadline $((deadline + SLOWER)) "$i" || wrong=1
    done
    report "loss 100% on one host" "$began" "$wrong"
}

make_hosts || exit 1
mends no delay 20ms 5ms
mends yes loss 5%
mends yes loss 5% delay 2ms reorder 25% duplicate 1%
falls_silent
close_count
