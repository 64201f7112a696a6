# Runs in the guest: RDMA by the real libibverbs, over soft-RoCE devices that act as those of several
# hosts. Prints a line for each case and the count of them.
set -u
. tests/guest/cases.bash
. tests/rdma-vm/devices.bash

tests="$HOCKET_BUILD_DIR/tests"
DEVICES=4
LIMIT=60    # seconds, for a whole run of ranks; emulation is about ten times slower than a processor

# The library's own programs first: where these do not get through, it is the guest that is at fault.
pingpong()
{
    local began wrong=0 kind=$1
    began=$(now)
    timeout "$LIMIT" "ibv_${kind}_pingpong" -d rdma1 -g 1 -n 100 >"$work/out.0" 2>&1 &
    sleep 1    # it listens
    timeout "$LIMIT" "ibv_${kind}_pingpong" -d rdma2 -g 1 -n 100 127.0.0.1 >"$work/out.1" 2>&1 || wrong=1
    wait $! || wrong=1
    says 0 "100 iters" || wrong=1
    says 1 "100 iters" || wrong=1
    report "pingpong, $kind" "$began" "$wrong"
}

# run NAME COMMAND...: a case that is a program.
run()
{
    local began wrong=0 name=$1
    shift
    began=$(now)
    rm -f "$work"/out.*
    timeout -s KILL "$LIMIT" "$@" >"$work/out.0" 2>&1 </dev/null || wrong=1
    report "$name" "$began" "$wrong"
}

make_devices $DEVICES || exit 1
pingpong rc
pingpong uc
run "our calls of verbs" "$tests/test_verbs_fake" rdma1 rdma2
close_count
