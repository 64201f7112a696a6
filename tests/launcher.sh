#!/usr/bin/env bash
# What `hocket run` does: statuses, output, environment, and that nothing outlives it. What it says is
# tests/golden.sh. Every launcher here runs under timeout; processes are signalled by number alone.
source "$(dirname "$0")/begin.bash"
rank=$build/tests/programs/rank
need "$rank"
unset HOCKET_BACKEND HOCKET_TUNE OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS

export TMPDIR=$work/tmp
mkdir "$TMPDIR"

LIMIT=40       # seconds for any one launcher
GONE_TRIES=60  # 3 s for a process to go
LINES_TRIES=400 # 20 s for a line to come
source "$source/tests/processes.bash"

# macOS has no timeout; there only ctest's limit is left.
command -v timeout >/dev/null || timeout() { shift && "$@"; }
run() { timeout $LIMIT "$hocket" run "$@"; }

# start_family NAME ARGUMENT...: a job of ranks with children, one of which has left the session.
# $job is the launcher's pid, $pids are the ranks' and their children's.
start_family() {
    local name=$1
    shift
    "$hocket" run -n 2 --timeout $LIMIT -- "$rank" family "$@" >"$name.out" 2>"$name.err" </dev/null &
    job=$!
    lines_in "$name.out" 2
    read -r -d '' -a pids < <(sed -n 's/^pids //p' "$name.out")
    same "$name: pids known" "${#pids[@]}" 6
}

test_exit_statuses() {
    run -n 3 true
    same "all succeed" $? 0
    run -n 3 -- sh -c 'exit $((HOCKET_RANK == 2 ? 3 : 0))' 2>/dev/null
    same "one exits with 3" $? 3
    run -n 2 -- sh -c 'exit 200' 2>err
    same "a status above 128 that is no signal" $? 200
    same "its line" "$(grep -c 'exited with status 200' err)" 1
    run -n 2 -- sh -c 'test $HOCKET_RANK = 1 && kill -KILL $$; exit 0' 2>/dev/null
    same "SIGKILL" $? 137
    run -n 2 -- sh -c 'test $HOCKET_RANK = 1 && kill -TERM $$; exit 0' 2>/dev/null
    same "SIGTERM" $? 143
}

test_first_failure_wins() {
    run -n 3 -- sh -c 'test $HOCKET_RANK = 1 && exit 5; until [ -s err ]; do sleep 0.05; done; exit 6' 2>err
    same "status of the first" $? 5
    same "one line about it" "$(cat err)" \
        "hocket run: Rank 1 exited with status 5. The others have 2 seconds to end by themselves."
}

test_others_may_speak() {
    local before=$SECONDS
    run -n 2 -- sh -c 'test $HOCKET_RANK = 1 && exit 5; sleep 1; echo saw it; sleep 30' >out 2>err
    same "status" $? 5
    same "last words" "$(cat out)" "saw it"
    [ $((SECONDS - before)) -lt 10 ] || fault "ending the others took $((SECONDS - before)) s"
}

test_keep_going() {
    run -n 2 --on-failure keep -- \
        sh -c 'test $HOCKET_RANK = 1 && exit 5; sleep 3; echo done' >out 2>err
    same "status" $? 5
    same "the other went on" "$(cat out)" "done"
}

test_timeout() {
    local before=$SECONDS
    run -n 2 --timeout 3 -- sh -c 'echo early; sleep 30' >out 2>err
    same "status" $? 124
    same "output before it" "$(wc -l <out | tr -d ' ')" 2
    [ $((SECONDS - before)) -lt 12 ] || fault "--timeout 3 took $((SECONDS - before)) s"
}

test_tagged_lines_stay_whole() {
    run -n 4 --tag-output -- "$rank" lines 300 >out
    same "status" $? 0
    same "lines" "$(wc -l <out | tr -d ' ')" 1200
    same "whole lines" \
        "$(LC_ALL=C grep -cE '^\[([0-9])\] rank \1 line [0-9]+ (aß€𝄞)+ end$' out)" 1200
    same "order within a rank" "$(grep '^\[2\]' out | awk '{print $5}' | sort -n -c 2>&1)" ""
}

test_slow_reader() {
    run -n 4 -- "$rank" lines 1000 | { sleep 3; wc -l | tr -d ' '; } >out
    same "statuses" "${PIPESTATUS[*]}" "0 0"
    same "lines" "$(cat out)" 4000
}

test_reader_that_leaves() {
    run -n 2 yes 2>/dev/null | head -n 1 >out
    same "statuses" "${PIPESTATUS[*]}" "141 0"
}

test_output_that_cannot_be_written() {
    [ -c /dev/full ] || return 0
    run -n 2 echo lost >/dev/full 2>err
    same "status" $? 125
    same "its line" "$(cat err)" \
        "hocket run: Cannot write the ranks' output: No space left on device."
}

test_long_line_is_cut_between_characters() {
    run -n 2 --tag-output -- "$rank" long >out
    tr -d '\n' <out | sed 's/\[[01]\] //g' >joined
    same "nothing lost" "$(tr -d '\n' <joined | wc -c | tr -d ' ')" 400002
    # Each piece is of whole characters when no line begins or ends within one.
    same "whole characters" "$(LC_ALL=C grep -vcE '^\[[01]\] (€)+$' out)" 0
}

test_no_final_newline() {
    run -n 1 -- "$rank" tail >out
    same "as it is" "$(od -An -tx1 <out | tr -d ' \n')" \
        "$(printf 'no newline €' | od -An -tx1 | tr -d ' \n')"
    run -n 2 --tag-output -- "$rank" tail >out
    same "tagged" "$(sort out)" "$(printf '[0] no newline €\n[1] no newline €')"
}

test_words_go_to_stderr() {
    run -n 2 -- sh -c 'echo out; echo err >&2; exit 1' >out 2>err
    same "stdout" "$(sort -u out)" "out"
    same "stderr" "$(grep -vc '^hocket run: ' err)" 2
}

test_environment() {
    run -n 3 -- sh -c 'echo $HOCKET_RANK $HOCKET_WORLD_SIZE $HOCKET_BACKEND ${HOCKET_SECRET-unset}' \
        >out
    same "rank, world, backend" "$(sort out)" "$(printf '%s 3 any unset\n' 0 1 2)"
    same "one coordinator" "$(run -n 3 -- sh -c 'echo $HOCKET_COORDINATOR' | sort -u |
        grep -cE '^127\.0\.0\.1:[0-9]+$')" 1
    HOCKET_SECRET=of-another-job run -n 1 --backend tcp --env A=b=c --env X= -- \
        sh -c 'echo "$HOCKET_BACKEND $A ${X-unset} ${HOCKET_SECRET-unset}"' >out
    same "--backend, --env" "$(cat out)" "tcp b=c  unset"
    same "--cwd" "$(run --cwd / pwd)" /
    same "cores shared" "$(run -n 200 -- sh -c \
        'echo $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS $MKL_NUM_THREADS $VECLIB_MAXIMUM_THREADS' |
        sort | uniq -c | tr -s ' ')" " 200 1 1 1 1"
    same "the user's share" "$(OMP_NUM_THREADS=7 run -n 1 -- sh -c 'echo $OMP_NUM_THREADS')" 7
    same "--env's share" "$(run --env OMP_NUM_THREADS=6 -- sh -c 'echo $OMP_NUM_THREADS')" 6
}

test_secret() {
    # Read twice, to the end, by each rank: no rank moves another's offset.
    run -n 4 -- sh -c 'cat $HOCKET_SECRET_FILE; echo; cat $HOCKET_SECRET_FILE; echo' >out
    if [ "$(uname -s)" = Linux ]; then
        same "one secret" "$(sort -u out | wc -l | tr -d ' ')" 1
    fi
    same "its size" "$(LC_ALL=C grep -cE '^[0-9a-f]{64}$' out | awk '{print ($1 >= 4)}')" 1
    local first
    first=$(head -n 1 out)
    [ "$(run -n 1 -- sh -c 'cat $HOCKET_SECRET_FILE')" != "$first" ] || fault "the secret is no news"
    same "no file is left" "$(find "$TMPDIR" -type f)" ""
}

# memory_of PID: what it could leave in a core dump.
memory_of() {
    local range perms rest from to
    while read -r range perms rest; do
        case "$perms $rest" in rw*vvar* | [!r]* | ?[!w]*) continue ;; esac
        from=$((16#${range%-*})) to=$((16#${range#*-}))
        [ $((to - from)) -le 268435456 ] || continue    # a sanitizer's shadow, terabytes of it
        dd if="/proc/$1/mem" bs=1M iflag=skip_bytes,count_bytes skip=$from count=$((to - from)) 2>/dev/null
    done <"/proc/$1/maps"
}

test_secret_is_not_kept() {
    [ -r /proc/self/mem ] || return 0
    # Not by way of the launcher, which would hold it as a rank's output.
    "$hocket" run -n 2 --timeout $LIMIT -- sh -c 'cat $HOCKET_SECRET_FILE >kept.secret; echo $PPID; exec sleep 60' \
        >kept.out 2>kept.err </dev/null &
    job=$!
    lines_in kept.out 2
    local pid starter
    starter=$(head -n 1 kept.out)
    for pid in "$starter" "$(parent "$starter")" "$(parent "$(parent "$starter")")"; do
        memory_of "$pid" >memory
        same "what is in the memory of $pid" "$(grep -aqF "PATH=$PATH" memory && echo something)" something
        same "the secret in it" "$(grep -acF -f kept.secret memory)" 0
    done
    kill -TERM "$job"
    await
}

test_secret_is_not_shown() {
    [ -r /proc/self/environ ] || return 0
    run -n 2 --timeout 20 -- sh -c 'cat $HOCKET_SECRET_FILE; echo; sleep 2' >shown.out 2>err </dev/null &
    job=$!
    lines_in shown.out 2
    local secret
    secret=$(head -n 1 shown.out)
    same "a secret" "${#secret}" 64
    # Every command line and environment there is, but not those of grep itself.
    same "in /proc" "$(grep -lFa -f <(echo "$secret") /proc/[0-9]*/cmdline /proc/[0-9]*/environ \
        2>/dev/null)" ""
    await
    same "in the words" "$(grep -cF "$secret" err)" 0
}

test_stdin() {
    same "rank 0" "$(seq 3 | run -n 3 --tag-output cat)" "$(printf '[0] %s\n' 1 2 3)"
    same "--stdin 2" "$(seq 3 | run -n 3 --stdin 2 --tag-output cat)" "$(printf '[2] %s\n' 1 2 3)"
    same "--stdin none" "$(seq 3 | run -n 2 --stdin none cat)" ""
}

test_mlx_ring() {
    run -n 3 --backend mlx:ring -- sh -c 'echo "$MLX_RANK $HOCKET_RANK"; cat $MLX_HOSTFILE' >out
    same "ranks" "$(grep -E '^[0-9] [0-9]$' out | sort)" "$(printf '0 0\n1 1\n2 2')"
    same "hostfile" "$(sort -u out | grep -cE \
        '^\[\["127\.0\.0\.1:[0-9]+"\], \["127\.0\.0\.1:[0-9]+"\], \["127\.0\.0\.1:[0-9]+"\]\]$')" 1
    same "its ports differ" "$(grep -m 1 '^\[' out | grep -oE ':[0-9]+' | sort -u | wc -l |
        tr -d ' ')" 3
    "$hocket" run -n 2 --backend mlx --timeout $LIMIT -- sh -c 'echo $MLX_HOSTFILE; sleep 30' \
        >ring.out 2>err </dev/null &
    job=$!
    lines_in ring.out 2
    same "there while it runs" "$(test -f "$(head -n 1 ring.out)" && echo yes)" yes
    kill -TERM "$job"
    await
    same "gone after SIGTERM" "$status $(find "$TMPDIR" -type f)" "143 "
}

# A program on MLX finds hocket and nothing else, unless its user says so.
test_mlx() {
    local suffix=so around=(MLX_RANK=7 MLX_HOSTFILE=x MLX_WORLD_SIZE=9 NCCL_HOST_IP=x NCCL_PORT=1 MLX_MPI_LIBNAME=x)
    [ "$(uname -s)" != Darwin ] || suffix=dylib
    local library=$build/lib/libhocket-mpi.$suffix
    mlx() { env "${around[@]}" timeout $LIMIT "$hocket" run --mlx "$@"; }
    mlx -n 2 --backend ring -- sh -c 'env | grep -E "^(MLX_|NCCL_)"' >out
    same "variables of MLX's" "$(sort -u out)" "MLX_MPI_LIBNAME=$(realpath "$library")"
    same "each rank's" "$(wc -l <out | tr -d ' ')" 2
    same "the user's" "$(mlx --env MLX_MPI_LIBNAME=y --env MLX_HOSTFILE=z --env PYTHONUNBUFFERED=0 -- \
        sh -c 'echo $MLX_MPI_LIBNAME $MLX_HOSTFILE $PYTHONUNBUFFERED')" "y z 0"
    same "Python's output" "$(mlx -- sh -c 'echo $PYTHONUNBUFFERED')" 1
    same "without --mlx" "$(MLX_MPI_LIBNAME=x MLX_HOSTFILE=z run -- \
        sh -c 'echo $MLX_MPI_LIBNAME $MLX_HOSTFILE $LD_PRELOAD')" "x z"
    if [ "$(uname -s)" = Linux ] && PATH=$PATH:/sbin ldconfig -p | grep 'libopenblas\.so\.0' >/dev/null; then
        local rows=    # which the sanitizers' builds have not
        [ ! -e "$build/lib/libhocket-blas.so" ] || rows=$(realpath "$build/lib")/libhocket-blas.so:
        same "OpenBLAS" "$(mlx -- sh -c 'echo $LD_PRELOAD')" "${rows}libopenblas.so.0"
        same "OpenBLAS alone" "$(HOCKET_BLAS=openblas mlx -- sh -c 'echo $LD_PRELOAD')" libopenblas.so.0
        same "behind the user's" "$(mlx --env LD_PRELOAD=libm.so.6 -- sh -c 'echo $LD_PRELOAD')" \
            "libm.so.6:${rows}libopenblas.so.0"
        same "but not against his will" "$(HOCKET_BLAS=reference mlx -- sh -c 'echo $LD_PRELOAD')" ""
    else
        echo "launcher: OpenBLAS is not here, so that it comes first is not tried"
    fi
    HOCKET_BACKEND=mlx:ring run --mlx true 2>err
    same "hocket over MLX" "$? $(grep -c -- '--mlx carries MLX over hocket' err)" "2 1"
    # A command without that library beside it.
    mkdir -p apart/bin apart/lib
    cp "$hocket" apart/bin/
    cp -P "$build"/lib/libhocket.* apart/lib/
    timeout $LIMIT apart/bin/hocket run --mlx true 2>err
    same "no library" "$? $(grep -c 'libhocket-mpi is not beside libhocket' err)" "125 1"
}

test_many_at_once() {
    local jobs=() i good=0
    for i in $(seq 20); do
        run -n 3 -- "$rank" meet &
        jobs+=($!)
    done
    for i in "${jobs[@]}"; do
        wait "$i" && good=$((good + 1))
    done
    same "jobs that met" $good 20
}

test_interrupt() {
    local name
    for name in INT:130 TERM:143 HUP:129; do
        start_family "$name"
        kill -"${name%:*}" "$job"
        await
        same "status of $name" "$status" "${name#*:}"
        gone "$name" "$job" "${pids[@]}"
    done
    start_family deaf deaf
    kill -TERM "$job"
    await
    same "status of deaf ranks" "$status" 143
    gone "deaf ranks" "$job" "${pids[@]}"
}

test_launcher_killed() {
    start_family killed deaf
    kill -KILL "$job"
    await
    gone "killed" "$job" "${pids[@]}"
    # The ranks' parent, and its guard. What has left the session is out of reach on macOS; see guard.c.
    local strays who
    for who in agent guard; do
        start_family $who deaf
        strays=("${pids[2]}" "${pids[5]}")
        [ "$(uname -s)" = Linux ] || unset "pids[2]" "pids[5]"
        if [ $who = agent ]; then
            kill -KILL "$(parent "${pids[0]}")"
        else
            kill -KILL "$(parent "$(parent "${pids[0]}")")"
        fi
        await
        same "status without the $who" "$status" 125
        same "its line" "$(cat $who.err)" \
            "hocket run: The process that looks after the ranks was ended by signal 9."
        gone "$who" "$job" "${pids[@]}"
        kill -KILL "${strays[@]}" 2>/dev/null
    done
    same "no temporary file is left" "$(find "$TMPDIR" -type f)" ""
}

# A session within a session: each is adopted only when what started it has ended.
test_generations() {
    command -v setsid >/dev/null || return 0
    "$hocket" run --timeout $LIMIT -- sh -c 'echo pid $$; setsid sh -c "echo pid \$\$; trap : TERM
        setsid sh -c \"trap : TERM; echo pid \\\$\\\$; sleep 50; sleep 50\" & sleep 50; sleep 50" & sleep 50' >gen.out 2>gen.err &
    job=$!
    lines_in gen.out 3
    read -r -d '' -a pids < <(sed -n 's/^pid //p' gen.out)
    kill -KILL "$(parent "${pids[0]}")"
    await
    gone "generations" "$job" "${pids[@]}"
}

test_left_behind() {
    # A rank that ends well and leaves children behind.
    run -n 2 -- sh -c 'sleep 31 & echo pid $!' >out 2>err
    same "status" $? 0
    read -r -d '' -a pids < <(sed -n 's/^pid //p' out)
    gone "children left behind" "${pids[@]}"
}

test_hello() {
    local backend
    for backend in any tcp ring; do
        run -n 4 --backend $backend --timeout 30 -- "$build/examples/hello" >out
        same "hello over $backend" "$? $(sort out)" \
            "0 $(printf 'rank %s of 4: 4 8 12 16\n' 0 1 2 3)"
    done
}

# Rank 0's table of choices counts for all; where it is none, all are told.
test_tune() {
    local backend
    printf 'all_reduce messages 2- 0- ring\nall_reduce memory 2- 0- staged\n' >good
    printf '# a table\nall_reduce messages 2- 0- pigeon\n' >bad
    for backend in tcp shm; do
        HOCKET_TUNE=$work/good run -n 3 --backend $backend -- "$build/examples/hello" >out
        same "tuned hello over $backend" "$? $(sort out)" \
            "0 $(printf 'rank %s of 3: 3 6 9 12\n' 0 1 2)"
        run -n 3 --backend $backend -- sh -c \
            '[ $HOCKET_RANK = 0 ] || HOCKET_TUNE=/no/such exec "$0"; HOCKET_TUNE=good exec "$0"' \
            "$build/examples/hello" >out
        same "rank 0's table over $backend" "$? $(wc -l <out | tr -d ' ')" "0 3"
        HOCKET_TUNE=/no/such run -n 3 --backend $backend --on-failure keep -- \
            "$build/examples/hello" 2>err
        same "no table over $backend" "$? $(grep -c 'rank 0 cannot read its table' err)" "1 2"
        same "why not" "$(grep -c '/no/such cannot be opened: No such file' err)" 1
        HOCKET_TUNE=bad run -n 3 --backend $backend --on-failure keep -- "$build/examples/hello" 2>err
        same "bad table over $backend" "$? $(grep -c 'rank 0 cannot read its table' err)" "1 2"
        same "its line" "$(grep -c 'HOCKET_TUNE=bad: table of choices, line 2 is not like' err)" 1
    done
}

test_doctor() {
    HOCKET_SECRET=nobody-shall-see-this timeout $LIMIT "$hocket" doctor >out 2>err
    same "status" $? 0
    same "words on stderr" "$(cat err)" ""
    same "version" "$(sed -n 's/^version *//p' out)" "$("$hocket" --version)"
    same "tcp and local" "$(grep -cE '^  (tcp|local) +available$' out)" 2
    same "a reason for the rest" "$(sed -n '/^Backends/,/^$/p' out | grep '^  ' |
        grep -vcE '^  [a-z:]+ +(available|not here: .+)$')" 0
    same "the secret's presence" "$(sed -n 's/^secret *//p' out)" "set by HOCKET_SECRET"
    same "the secret" "$(grep -c nobody out)" 0
}

run_tests "$@"
