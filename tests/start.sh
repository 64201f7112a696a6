#!/usr/bin/env bash
# `hocket run` on several hosts: names of this one, behind a real sshd. What is the same on one host is in
# launcher.sh. Every launcher here runs under timeout; processes are signalled by number alone.
source "$(dirname "$0")/begin.bash"
rank=$build/tests/programs/rank
need "$rank" "$build/tests/programs/typist"
unset HOCKET_BACKEND HOCKET_TUNE
source "$source/tests/sshd.bash"
serve_here
export TMPDIR=$work/tmp
mkdir "$TMPDIR"

LIMIT=60       # seconds for any one launcher
GONE_TRIES=120 # 6 s for a process to go
LINES_TRIES=600 # 30 s for a line to come
source "$source/tests/processes.bash"
run() { timeout $LIMIT "$hocket" run --ssh "ssh -F $work/ssh_config" "$@"; }
two="--hosts host-a,host-b"

# start_family NAME HOSTS ARGUMENT...: ranks with children, one of which has left the session. $job is the
# launcher's pid, $pids are the ranks' and their children's.
start_family() {
    local name=$1 hosts=$2
    shift 2
    "$hocket" run --ssh "ssh -F $work/ssh_config" --hosts "$hosts" --timeout $LIMIT -- \
        "$rank" family "$@" >"$name.out" 2>"$name.err" </dev/null &
    job=$!
    lines_in "$name.out" 2
    read -r -d '' -a pids < <(sed -n 's/^pids //p' "$name.out")
    same "$name: pids known" "${#pids[@]}" 6
}

test_statuses() {
    run $two -n 2 true
    same "all succeed" $? 0
    run $two -n 2 -- sh -c '[ $HOCKET_RANK = 3 ] || sleep 20; echo one >&2; echo "two €" >&2; exit 5' 2>err
    same "one exits with 5" $? 5
    same "its line" "$(grep '^hocket' err)" "hocket run: Rank 3 on host-b exited with status 5. The \
others have 2 seconds to end by themselves. It said last: one / two €"
    run $two -- sh -c 'test $HOCKET_RANK = 1 && kill -KILL $$; sleep 20' 2>err
    same "SIGKILL" $? 137
    same "its line" "$(grep -c 'Rank 1 on host-b was ended by SIGKILL' err)" 1
    run $two -- /no/such/program 2>err
    same "no program" $? 127
    run $two --timeout 4 -- sleep 30 2>err
    same "--timeout" $? 124
}

test_ranks_meet() {
    run --hosts 127.0.0.2,127.0.0.3 -n 2 --backend tcp --timeout 50 -- "$build/examples/hello" >out
    same "hello on two hosts" "$? $(sort out)" "0 $(printf 'rank %s of 4: 4 8 12 16\n' 0 1 2 3)"
    run --hosts localhost,host-b,127.0.0.1 -- sh -c 'echo $HOCKET_RANK' >out
    same "here and there" "$? $(sort out | tr '\n' ' ')" "0 0 1 2 "
    same "a host that the others can ask" \
        "$(run $two -- sh -c 'echo ${HOCKET_COORDINATOR%:*}' | sort -u)" host-a
    same "one host" "$(run --hosts host-a -n 2 -- sh -c 'echo ${HOCKET_COORDINATOR%:*}' | sort -u)" \
        127.0.0.1
}

test_banner() {
    printf 'ß\n1 2\n' | run --hosts host-loud,host-b -n 1 --tag-output --stdin all -- cat >out 2>err
    same "a login that talks" "$? $(sort out)" "$(printf '0 [0] 1 2\n[0] ß\n[1] 1 2\n[1] ß')"
    same "its standard error" "$(cat err)" loud
}

test_secret() {
    run $two --timeout 40 -- sh -c 'cat $HOCKET_SECRET_FILE; echo; sleep 3' >secret.out 2>err </dev/null &
    job=$!
    lines_in secret.out 2
    same "one secret" "$(sort -u secret.out | grep -cE '^[0-9a-f]{64}$')" 1
    if [ -r /proc/self/environ ]; then
        head -n 1 secret.out >secret
        same "in /proc" "$(grep -lFa -f secret /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null)" ""
    fi
    await
    same "status" $status 0
    same "no file is left" "$(find "$TMPDIR" /tmp -maxdepth 1 -name 'hocket-??????' -newer secret.out)" ""
}

test_environment() {
    mkdir -p here
    cd here || return
    HOCKET_TIMEOUT=77 OTHER=x run $two --backend tcp --env A=b=c -- sh -c \
        'echo $HOCKET_BACKEND $A $HOCKET_TIMEOUT ${OTHER-unset} ${PWD##*/}' >out
    cd ..
    same "variables, folder" "$(sort -u here/out)" "tcp b=c 77 unset here"
    same "--cwd" "$(run $two --cwd / pwd | sort -u)" /
    run $two --cwd /no/such/folder pwd 2>err
    same "--cwd that is not there" "$? $(grep -c "folder '/no/such/folder'" err)" "125 1"
}

test_stdin() {
    same "a rank there" "$(seq 3 | run $two --stdin 1 --tag-output cat)" "$(printf '[1] %s\n' 1 2 3)"
    same "all" "$(seq 2 | run --hosts localhost,host-b --stdin all --tag-output cat | sort)" \
        "$(printf '[0] 1\n[0] 2\n[1] 1\n[1] 2')"
    same "none" "$(seq 3 | run $two --stdin none cat)" ""
    seq 200000 >much
    same "much" "$(run $two --stdin 1 -- md5sum <much | grep -v d41d8)" "$(md5sum <much)"
    seq 200000 | run $two --stdin all true
    same "nobody reads it" "${PIPESTATUS[1]}" 0
}

test_output() {
    run $two -n 2 --tag-output -- "$rank" lines 200 >out
    same "status" $? 0
    same "whole lines" \
        "$(LC_ALL=C grep -cE '^\[([0-9])\] rank \1 line [0-9]+ (aß€𝄞)+ end$' out)" 800
    same "order within a rank" "$(grep '^\[2\]' out | awk '{print $5}' | sort -n -c 2>&1)" ""
    run $two -n 2 -- "$rank" lines 1500 | { sleep 4; wc -l | tr -d ' '; } >out
    same "a slow reader" "${PIPESTATUS[*]} $(cat out)" "0 0 6000"
    run $two yes 2>/dev/null | head -n 1 >out
    same "a reader that leaves" "${PIPESTATUS[*]}" "141 0"
    run $two --output-dir kept --tag-output -- sh -c 'echo "out $HOCKET_RANK"; echo err >&2' >out 2>err
    same "--output-dir" "$? $(cat kept/rank-1.txt | sort | tr '\n' ' ')" "0 err out 1 "
    same "and the usual way" "$(grep -c '^\[1\] out 1$' out) $(grep -c err err)" "1 2"
}

test_signals() {
    local name
    for name in INT:130 TERM:143 HUP:129; do
        start_family "$name" host-a,host-b
        kill -"${name%:*}" "$job"
        await
        same "status of $name" "$status" "${name#*:}"
        gone "$name" "$job" "${pids[@]}"
    done
    start_family deaf host-a,localhost deaf
    kill -TERM "$job"
    await
    same "status of deaf ranks" "$status" 143
    gone "deaf ranks" "$job" "${pids[@]}"
}

test_front_killed() {
    start_family front host-a,localhost deaf
    kill -KILL "$job"
    await
    gone "front" "$job" "${pids[@]}"
}

# The ssh of the second host, which is front's child.
test_ssh_killed() {
    local ssh
    start_family ssh host-a,host-b
    ssh=$(pgrep -P "$job" -f 'host-b exec' | head -n 1)
    kill -KILL "$ssh"
    await
    same "status" "$status" 125
    same "its line" "$(cat ssh.err)" \
        "hocket run: The host host-b is lost: its remote shell was ended by signal 9."
    gone "ssh" "$job" "${pids[@]}"
}

test_agent_killed() {
    start_family agent host-a,host-b deaf
    kill -KILL "$(parent "${pids[0]}")"
    await
    same "status without an agent" "$status" 125
    [ "$(uname -s)" = Linux ] || unset "pids[2]" # it has left, and is out of reach; see guard.c
    gone "agent" "$job" "${pids[@]}"
    # What the remote shell has started: guard.c.
    start_family guard host-a,host-b deaf
    kill -KILL "$(parent "$(parent "${pids[0]}")")"
    await
    gone "guard" "$job" "${pids[@]}"
}

test_no_agent() {
    run --hosts host-a,host-b --hocket /no/such/hocket true 2>err
    same "no hocket there" "$? $(grep -c 'No agent answers on host-[ab]: its remote shell ended with status 127' err)" "125 1"
    run --hosts host-a,no.such.host.invalid -- sleep 30 2>err
    same "no such host" "$? $(grep -c 'No agent answers on no.such.host.invalid' err)" "125 1"
    timeout $LIMIT "$hocket" run --hosts host-a --ssh /no/such/ssh true 2>err
    same "no ssh" "$? $(grep -c "'/no/such/ssh' (--ssh) cannot be started" err)" "125 1"
    printf '#!/bin/sh\necho "hocket agent: 0.0.1"\nsleep 30\n' >old
    chmod +x old
    run --hosts host-a,host-b --hocket "$work/old" true 2>err
    same "another version" "$? $(grep -c 'has hocket 0.0.1, and this one has' err)" "125 1"
    printf '#!/bin/sh\necho "hocket agent: %s"\nhead -c 99999 /dev/zero\n' \
        "$("$hocket" --version | sed 's/hocket //')" >liar
    chmod +x liar
    run --hosts host-a --hocket "$work/liar" true 2>err
    same "an agent that lies" "$? $(grep -c 'is lost' err)" "125 1"
}

test_hostfiles() {
    printf '# two\nhost-a slots=2\nhost-b slots=1\n' >lines
    same "Open MPI's" "$(run --hostfile lines -- sh -c 'echo $HOCKET_RANK $HOCKET_WORLD_SIZE' | sort)" \
        "$(printf '%s 3\n' 0 1 2)"
    cat >mlx <<'END'
{"backend": "mlx:ring", "envs": ["X=y"], "hosts": [{"ssh": "host-a", "ips": ["127.0.0.2", "127.0.0.3"]},
 {"ssh": "host-b", "ips": ["127.0.0.4"]}]}
END
    run --hostfile mlx -- sh -c \
        'echo $MLX_RANK $X $HOCKET_BACKEND $HOCKET_COORDINATOR $MLX_HOSTFILE; cat $MLX_HOSTFILE' >out
    same "MLX's" "$(sed -nE 's/^(. y mlx:ring 127.0.0.2):[0-9]+ .*hocket.*/\1/p' out | sort)" \
        "$(printf '%s y mlx:ring 127.0.0.2\n' 0 1)"
    same "the ring's hostfile" "$(grep -cE \
        '^\[\["127.0.0.2:([0-9]+)", "127.0.0.3:\1"\], \["127.0.0.4:[0-9]+"\]\]$' out)" 2
    same "gone after the job" "$(ls $(sed -n 's/.* \(\/.*hocket-.*\)/\1/p' out) 2>/dev/null)" ""
    cat >rdma <<'END'
{"backend": "jaccl-ring", "hosts": [{"ssh": "host-a", "ips": ["127.0.0.2"], "rdma": [null, "rdma_en2"]},
 {"ssh": "host-b", "ips": ["127.0.0.3"], "rdma": [["rdma_en3", "rdma_en4"], null]}]}
END
    run --hostfile rdma -- sh -c 'echo $MLX_RANK $HOCKET_BACKEND $MLX_JACCL_COORDINATOR $MLX_JACCL_RING
        cat $MLX_IBV_DEVICES' >out
    same "jaccl" "$(sed -nE 's/^(. jaccl 127.0.0.2:)[0-9]+( 1)$/\1\2/p' out | sort)" \
        "$(printf '%s jaccl 127.0.0.2: 1\n' 0 1)"
    same "the device matrix" "$(grep -cF \
        '[[null,"rdma_en2"], [["rdma_en3","rdma_en4"],null]]' out)" 2
}

# What MLX needs is found on the host where a rank is.
test_mlx() {
    run --mlx --hosts host-a,host-b -- sh -c 'test -e "$MLX_MPI_LIBNAME" && echo $HOCKET_RANK $MLX_HOSTFILE' >out
    same "MLX on two hosts" "$(sort out)" "$(printf '%s\n' 0 1)"
}

# type_at NAME STEP... -- OPTION...: someone at a terminal, whose rank 1 is on host-b; see programs/typist.c.
type_at() {
    local name=$1
    shift
    local steps=()
    while [ "$1" != -- ]; do
        steps+=("$1")
        shift
    done
    shift
    timeout $LIMIT "$build/tests/programs/typist" "${steps[@]}" -- "$hocket" run --ssh "ssh -F $work/ssh_config" \
        --timeout $LIMIT "$@" >out 2>&1
    same "$name" "$? $(cat out)" "0 "
}

# What the rank with the terminal sees and does; the others print beside it.
test_terminal() {
    local one=(--hosts host-b --env PS1=ok\>)
    TERM=vt52 type_at "a shell" 'expect:ok>' raw $'type:tty >/dev/null && echo a "$TERM" $HOCKET_TERMINAL\r' \
        'expect:a vt52 1' 'expect:ok>' $'type:test -t 0 -a -t 1 -a -t 2 && echo all\r' expect:$'\nall' size:33,99 \
        $'type:sleep 0.5; stty size\r' 'expect:33 99' size:11,44 $'type:sleep 0.5; stty size\r' \
        'expect:11 44' $'type:exit 3\r' cooked ends:3 -- "${one[@]}" sh -i
    type_at "Ctrl-C" 'expect:ok>' $'type:cat\r' $'type:x\r' expect:$'x\r\nx' $'type:\x03' 'expect:ok>' \
        $'type:echo st\x22\x22ill\r' expect:still $'type:exit 0\r' cooked ends:0 -- "${one[@]}" sh -i
    type_at "Ctrl-D" raw $'type:one\r' expect:one $'type:\x04' expect:read1 cooked ends:0 -- \
        "${one[@]}" sh -c 'echo read$(wc -l)'
    type_at "Ctrl-C ends a rank" raw $'type:x\r' expect:$'x\r\nx' $'type:\x03' cooked ends:130 -- "${one[@]}" cat
    type_at "three of them" 'expect:deaf' $'type:\x03\x03\x03' cooked ends:130 -- \
        $two --stdin 1 sh -c 'trap "" INT; [ $HOCKET_RANK = 1 ] && echo deaf; sleep 40; sleep 40'
    type_at "lines of others" 'expect:ok>' expect:$'beside\r\n' $'type:exit 0\r' cooked ends:0 -- \
        $two --env PS1=ok\> --stdin 1 -- sh -c '[ $HOCKET_RANK = 1 ] || { sleep 2; exec echo beside; }; exec sh -i'
    type_at "keys at once" raw $'type:x' 'expect:got x' cooked ends:0 -- \
        "${one[@]}" sh -c 'stty raw -echo; k=$(dd bs=1 count=1 2>/dev/null); echo got $k'
    type_at "the rank that was meant" expect:pipe cooked ends:0 -- $two sh -c 'test -t 0 || echo pipe'
    type_at "tags" expect:'[1] pipe' cooked ends:0 -- $two --stdin 1 --tag-output sh -c 'test -t 0 || echo pipe'
    type_at "another rank fails" 'expect:ok>' cooked ends:9 -- \
        $two --env PS1=ok\> --stdin 1 -- sh -c '[ $HOCKET_RANK = 1 ] || { sleep 2; exit 9; }; exec sh -i'
}

# The terminal is as before whatever ends front, or stops it.
test_terminal_is_given_back() {
    local number
    for number in 1:129 2:130 3:131 15:143 9:137 6:134; do
        type_at "signal ${number%:*}" expect:ready raw "kill:${number%:*}" cooked "ends:${number#*:}" -- \
            --hosts host-b sh -c 'echo ready; exec sleep 40'
    done
    type_at "a stop" expect:ready raw kill:20 cooked kill:18 raw $'type:x\r' expect:$'x\r\nx' \
        $'type:\x03' cooked ends:130 -- --hosts host-b sh -c 'echo ready; exec cat'
    type_at "no program" cooked ends:127 -- --hosts host-b /no/such/program
    type_at "a time limit" expect:ready raw cooked ends:124 -- --timeout 6 --hosts host-b \
        sh -c 'echo ready; exec sleep 40'
}

run_tests "$@"
