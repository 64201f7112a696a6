# Runs in the guest: RDMA by the real libibverbs, over soft-RoCE devices that act as those of several
# hosts. First the suites, their ranks threads or processes that name a device each; then ranks that
# see one device alone, over wires that lose, are cut, or whose device is taken away. Prints a line for
# each case and the count of them.
set -u
. tests/guest/cases.bash
. tests/rdma-vm/devices.bash

tests="$HOCKET_BUILD_DIR/tests"
port=7800

DEVICES=4
SLOWER=10     # than a processor, by about so much: what the suites' limits are multiplied with
LIMIT=120     # seconds, for a whole run of ranks
SUITE=600     # the same for a suite
AFTER=20      # in which all know of a death, or of a device that has gone

# wanted NAME: not all cases are, when somebody looks for a fault or has less time.
wanted()
{
    [[ $1 == *"$RDMA_ONLY"* ]]
}

# === Programs =====================================================================================

# run NAME SECONDS COMMAND...: a case that is a program; of one on cmocka, says how many it has passed.
run()
{
    local began wrong=0 name=$1 seconds=$2
    wanted "$name" || return 0
    shift 2
    began=$(now)
    rm -f "$work"/out.*
    timeout -s KILL "$seconds" "$@" >"$work/out.0" 2>&1 </dev/null || wrong=1
    sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/  \1 of its cases passed/p' "$work/out.0"
    report "$name" "$began" "$wrong"
}

# The library's own programs first: where these do not get through, it is the guest that is at fault.
pingpong()
{
    local began tries wrong=0 kind=$1
    wanted "pingpong, $kind" || return 0
    began=$(now)
    timeout "$LIMIT" "ibv_${kind}_pingpong" -d rdma1 -g 1 -n 100 >"$work/out.0" 2>&1 &
    for ((tries = 0; tries < LIMIT * 5; tries++)); do # until it listens at port 18515
        grep -qE ':4853 [0-9A-F]+:0000 0A ' /proc/net/tcp /proc/net/tcp6 && break
        sleep 0.2
    done
    timeout "$LIMIT" "ibv_${kind}_pingpong" -d rdma2 -g 1 -n 100 127.0.0.1 >"$work/out.1" 2>&1 || wrong=1
    wait $! || wrong=1
    says 0 "100 iters" || wrong=1
    says 1 "100 iters" || wrong=1
    report "pingpong, $kind" "$began" "$wrong"
}

# === Ranks, a host each ===========================================================================

# start RANKS KIND SECONDS ELEMENTS TIMEOUT: ranks that add up, of which rank i sees device i + 1 alone.
start()
{
    local i
    port=$((port + 1))
    pids=()
    rm -f "$work"/out.*
    for ((i = 0; i < $1; i++)); do
        echo 'the secret of several hosts' >"$work/secret.$i"
        HOCKET_BACKEND=jaccl HOCKET_VERBS_KIND=$2 HOCKET_RANK=$i HOCKET_WORLD_SIZE=$1 \
            HOCKET_TIMEOUT=$5 HOCKET_COORDINATOR="127.0.0.1:$port" \
            HOCKET_SECRET_FILE="$work/secret.$i" \
            only_device "rdma$((i + 1))" timeout -s KILL "$LIMIT" "$tests/programs/worker" "$3" "$4" \
            >"$work/out.$i" 2>&1 </dev/null &
        pids+=($!)
    done
}

# until_met: each rank has a queue pair to each other, so they are adding up a moment later.
until_met()
{
    local tries count=${#pids[@]}
    for ((tries = 0; tries < LIMIT * 5; tries++)); do
        [ "$(rdma resource show qp | grep -c 'type [RU]C state RTS')" -lt $((count * (count - 1))) ] ||
            break
        sleep 0.2
    done
    sleep 2
}

# lossy PERCENT: every wire loses so many packets.
lossy()
{
    local i
    for ((i = 1; i <= DEVICES; i++)); do
        tc qdisc replace dev "wire$i" root netem limit 10000 loss "$1%" || return 1
    done
}

dropped()
{
    tc -s qdisc show | sed -n 's/.*(dropped \([0-9]*\),.*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

# sums RANKS KIND: all end with right sums.
sums()
{
    local began wrong=0 i name="$1 hosts, $2${HOCKET_VERBS_PROFILE:+, as $HOCKET_VERBS_PROFILE}"
    wanted "$name" || return 0
    began=$(now)
    start "$1" "$2" 3 20000 60
    wait "${pids[@]}"
    for ((i = 0; i < $1; i++)); do
        says "$i" "rank $i: ok" || wrong=1
    done
    report "$name" "$began" "$wrong"
}

# mends RANKS KIND PERCENT: packets are lost and all end with right sums: RC's devices repeat, over UC
# hocket does. An error would be no lie either, but nothing here lasts long enough for one.
mends()
{
    local began lost wrong=0 i
    wanted "$1 hosts, $2, loss $3%" || return 0
    lossy "$3" || wrong=1
    began=$(now)
    start "$1" "$2" 3 20000 60
    wait "${pids[@]}"
    lost=$(dropped)
    lossy 0
    echo "  packets lost: $lost"
    [ "$lost" -gt 0 ] || wrong=1
    for ((i = 0; i < $1; i++)); do
        says "$i" "rank $i: ok" || wrong=1
    done
    report "$1 hosts, $2, loss $3%" "$began" "$wrong"
}

# lost_within RANK VICTIM: that rank's call failed soon, and it says that the victim is lost.
lost_within()
{
    says "$1" "rank $1: peer lost ranks $2 after" || return 1
    sed -n 's/^rank.* after \([0-9.]*\) s in the call.*/\1/p' "$work/out.$1" |
        awk -v most=$AFTER -v rank="$1" '
            $1 > most { printf "  rank %d waited %.2f s, should be %s at most\n", rank, $1, most; bad = 1 }
            END { exit bad }'
}

# breaks NAME KIND SAYS COMMAND...: three ranks add up, then the command ends rank 2, which says SAYS if
# it says anything; the others say that it is lost.
breaks()
{
    local began wrong=0 name=$1 kind=$2 words=$3
    wanted "$name, $kind" || return 0
    shift 3
    start 3 "$kind" 300 1000 60
    until_met
    began=$(now)
    "$@" || wrong=1
    wait "${pids[@]}" 2>/dev/null
    for i in 0 1; do
        lost_within $i 2 || wrong=1
    done
    says 2 "$words" || wrong=1
    report "$name, $kind" "$began" "$wrong"
}

kill_rank_2()
{
    local pid
    pid=$(pgrep -f "^$tests/programs/worker" | while read -r pid; do
        tr '\0' '\n' <"/proc/$pid/environ" | grep -q '^HOCKET_RANK=2$' && echo "$pid"
    done)
    [ -n "$pid" ] && kill -KILL $pid
}

# The kernel keeps a soft-RoCE device that is deleted until the last process has closed it: the sums stay
# right, or there is an error; who starts afterwards is told.
deleted()
{
    local began wrong=0 kind=$1 i deletes
    wanted "a device is deleted, $kind" || return 0
    start 3 "$kind" 15 1000 60
    until_met
    began=$(now)
    timeout "$LIMIT" rdma link delete rdma3 &
    deletes=$!
    kill -0 "${pids[@]}" || { echo "  the ranks were through before"; wrong=1; }
    wait "${pids[@]}"
    wait $deletes || { echo "  the device cannot be deleted"; wrong=1; }
    for i in 0 1 2; do
        case "$(cat "$work/out.$i")" in
        "rank $i: ok"*) ;;
        *"rank $i: peer lost"* | *"rank $i: system error"*) ;;
        *) echo "  rank $i should end with right sums or a clear error"; wrong=1 ;;
        esac
    done
    report "a device is deleted, $kind" "$began" "$wrong"
    began=$(now)
    wrong=0
    start 3 "$kind" 3 1000 60
    wait "${pids[@]}"
    for i in 0 1 2; do
        says $i "unavailable ranks" || wrong=1
    done
    report "a device that is not there any more, $kind" "$began" "$wrong"
    make_device 3 || exit 1
}

# === The language model ===========================================================================

# Two ranks, each with a device of its own, share its heads and columns: they say what one says alone.
model()
{
    local began wrong=0 says
    wanted "a language model" || return 0
    began=$(now)
    rm -f "$work"/out.*
    echo '[[null, "rdma1"], ["rdma2", null]]' >"$work/matrix"
    HOCKET_VERBS_DEVICES="$work/matrix" timeout -s KILL "$SUITE" "$HOCKET_BUILD_DIR/bin/hocket" \
        run -n 2 --backend jaccl --timeout "$SUITE" -- "$HOCKET_BUILD_DIR/examples/llm" \
        --model "$MODEL" --prompt "$PROMPT" --tokens "$TOKENS" --raw --device cpu --parallel tp \
        --json >"$work/out.0" 2>"$work/out.1" </dev/null || wrong=1
    says=$(sed -n 's/.*"tokens": \[\([0-9,]*\)\].*/\1/p' "$work/out.1")
    echo "  tokens $says; alone $MODEL_SAYS"
    [ "$says" = "$MODEL_SAYS" ] || wrong=1
    report "a language model that 2 ranks share" "$began" "$wrong"
}

# === All of it ====================================================================================

make_devices $DEVICES || exit 1
export HOCKET_TEST_DEVICES=rdma1,rdma2,rdma3,rdma4 HOCKET_TEST_RANKS=$DEVICES
export HOCKET_TEST_SLOWNESS=$SLOWER HOCKET_SOURCE_DIR=$PWD

pingpong rc
pingpong uc
run "our calls of verbs" "$LIMIT" "$tests/test_verbs_fake"
for kind in rc uc; do
    for ranks in 2 3 4; do
        sums $ranks $kind
    done
    mends 4 $kind 5
    breaks "a host is killed" $kind "" kill_rank_2
    breaks "a link goes down" $kind "rank 2: system error" ip link set wire3 down
    ip link set wire3 up
    deleted $kind
done
for ranks in 2 3 4; do
    HOCKET_VERBS_PROFILE=apple sums $ranks uc
done
[ -z "$MODEL_SAYS" ] || model
for kind in rc uc wires ring apple; do
    run "oracle, $kind" "$SUITE" "$tests/test_oracle" $kind
done
for kind in rc uc; do
    run "faults, $kind" "$SUITE" "$tests/test_faults" $kind
done
for kind in rc uc wires; do
    run "conformance, $kind" "$SUITE" "$tests/test_conformance_verbs" $kind
done
close_count
