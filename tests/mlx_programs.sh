#!/usr/bin/env bash
# Programs on MLX, written for its own mx.distributed, run over hocket with MLX's stock wheel: by hocket run
# --mlx, by hand under mpirun and mlx.launch. What they compute is right on any number of ranks, a language
# model and its server among them, and they end when one of their ranks does.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source scripts/common.sh
source tests/kernels.bash
source tests/mpis.bash
build=$(cd "${HOCKET_BUILD_DIR:-build}" && pwd) || exit 1
hocket=$build/bin/hocket
model=$PWD/$MODEL
programs=$PWD/tests/mlx_programs
library=$(ls "$build"/lib/libhocket-mpi.{so,dylib} 2>/dev/null | head -n 1)

skip() {
    echo "mlx_programs: skipped: $1"
    exit 77
}
[ -z "${HOCKET_SANITIZE:-}" ] || skip "MLX and Python are not built for sanitizers; test_mlx_mpi is run under them"
python=$(find_python) || skip "there is no Python 3.10 with pip"
export PYTHONPATH=$PWD/$MLX_PYTHON HF_HUB_OFFLINE=1
why=$("$python" -c 'import mlx.core, mlx_lm.models.llama, mlx_lm.server' 2>&1) ||
    skip "this Python has no mlx-lm (make deps): $(tail -n 1 <<<"$why")"
[ -e "$model" ] || skip "the model is not here: make deps"

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# Compiled once, not by each rank.
unset PYTHONDONTWRITEBYTECODE "${!HOCKET_@}" "${!MLX_@}" "${!OMPI_@}" "${!PMIX_@}" "${!PMI_@}"
export PYTHONPYCACHEPREFIX=$work/compiled
LIMIT=100       # seconds for any one job
GONE_TRIES=100  # 5 s for a process to go
LINES_TRIES=600
source tests/processes.bash
command -v timeout >/dev/null || timeout() { shift && "$@"; }

# run RANKS OPTION... -- PROGRAM...: what it says goes to $work/out and err.
run() {
    local ranks=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    timeout $LIMIT "$hocket" run --mlx -n "$ranks" ${options[@]+"${options[@]}"} -- \
        sh -c "$OWN_KERNELS" "$work/kernels" "$@" >"$work/out" 2>"$work/err" </dev/null
}
# well WHAT: the last job has ended so.
well() {
    local status=$?
    same "$1: status" $status 0
    [ $status = 0 ] || head -n 20 "$work/err"
}
behaved() { grep -cE '^rank [0-9]+ of [0-9]+: [0-9]+ behaviours, [0-9]+ checks$' "$work/out"; }

test_behaviours() {
    local ranks backend
    while read -r ranks backend; do
        run "$ranks" --backend "$backend" -- "$python" "$programs/behaviours.py"
        well "$ranks ranks over $backend"
        same "$ranks ranks over $backend" "$(behaved)" "$ranks"
    done <<END
2 shm
8 any
2 tcp
END
}

# hocket by hand: what the launcher sets is read, MLX is told where the library lies.
test_other_launchers() {
    local few="test_rounding test_groups test_send_recv" port
    if [ ${#openmpi[@]} -gt 0 ]; then
        timeout $LIMIT "${openmpi[@]}" -np 2 -x MLX_MPI_LIBNAME="$library" -x PYTHONPATH \
            "$python" "$programs/behaviours.py" $few >"$work/out" 2>"$work/err" </dev/null
        well "mpirun"
        same "under mpirun" "$(behaved)" 2
    else
        echo "mlx_programs: mpirun is not here, so that is not tried"
    fi
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    # MLX would choose the ring that its launcher has prepared.
    printf 'import sys, mlx.core as mx\nw = mx.distributed.init(strict=True, backend="mpi")\n%s\n' \
        'sys.stdout.write(f"split into {w.split(w.rank()).size()} of {w.size()}\n")' >"$work/split.py"
    timeout $LIMIT "$python" -c 'import sys; from mlx._distributed_utils.launch import main; sys.exit(main())' \
        -n 2 --backend ring --starting-port "$port" --env MLX_MPI_LIBNAME="$library" --env PYTHONPATH="$PYTHONPATH" \
        -- "$python" "$work/split.py" >"$work/out" 2>"$work/err" </dev/null
    well "mlx.launch"
    same "under mlx.launch" "$(grep -c '^split into 1 of 2$' "$work/out")" 2
    MLX_MPI_LIBNAME=$library "$python" -c \
        'import mlx.core as mx; print(mx.distributed.init().size(), mx.distributed.is_available("mpi"))' >"$work/out" 2>&1
    same "alone" "$(cat "$work/out")" "1 True"
    run 1 -- "$python" -c 'import mlx.core as mx; print(mx.distributed.init().size())'
    same "one rank" "$? $(cat "$work/out")" "0 1"
}

field() { "$python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" <"$work/out"; }

test_decode() {
    local alone
    run 1 -- "$python" "$programs/decode.py" "$model" "The three largest cities of Austria are" 12
    well "a model on one rank"
    alone=$(field tokens)
    same "its text" "$(field text | grep -c Vienna)" 1
    run 3 -- "$python" "$programs/decode.py" "$model" "The three largest cities of Austria are" 12
    well "a model on 3 ranks"
    same "its ranks" "$(field ranks)" 3
    same "its tokens" "$(field tokens)" "$alone"
}

test_training() {
    run 1 -- "$python" "$programs/train.py" 30
    well "training on one rank"
    cp "$work/out" "$work/alone"
    run 2 -- "$python" "$programs/train.py" 30
    well "training on 2 ranks"
    same "losses" "$("$python" - "$work/alone" "$work/out" <<'END'
import json, sys
alone, shared = (json.load(open(name)) for name in sys.argv[1:])
worst = max(abs(a - b) / a for a, b in zip(alone, shared))
print(len(alone), len(shared), worst < 1e-4 and alone[-1] < alone[0] / 2 or (worst, alone[0], alone[-1]))
END
    )" "30 30 True"
}

# Three ranks are one server, which answers and, at Ctrl-C, goes. What its processes say then does not count: mlx-lm
# 0.32.2 aborts there ("terminate called without an active exception"), also alone and without hocket.
test_server() {
    local port ranks
    "$python" "$programs/smollm2.py" "$model" "$work/model" || fault "the model's folder was not written"
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    set -m    # else the job would ignore SIGINT, as all in a script's background do
    timeout --foreground $LIMIT "$hocket" run --mlx -n 3 -- sh -c 'echo "pid $$" && exec "$@"' _ \
        "$python" -m mlx_lm server --model "$work/model" --port "$port" >"$work/out" 2>"$work/err" </dev/null &
    job=$!
    set +m
    same "the answer" "$("$python" "$programs/ask.py" "$port" 80 "What is the capital of France?" 2>&1)" \
        "The capital of France is Paris."
    same "another" "$("$python" "$programs/ask.py" "$port" 80 "What is the capital of France?" 2>&1)" \
        "The capital of France is Paris."
    ranks=$(sed -n 's/^pid //p' "$work/out")
    same "ranks" "$(wc -w <<<"$ranks" | tr -d ' ')" 3
    local began=$SECONDS
    kill -INT "$job"
    await
    same "status after Ctrl-C" "$status" 130
    [ $((SECONDS - began)) -le 15 ] || fault "the server took $((SECONDS - began)) s to go"
    gone "after Ctrl-C" $ranks
    [ "$faults" = 0 ] || tail -n 40 "$work/err"
}

# end HOW STATUS SENTENCE: rank 1 of 3 ends so, with that status; the others say why, once each, and are gone.
end() {
    local how=$1 status=$2 sentence=$3 began took
    run 3 --on-failure keep -- sh -c '"$@"; echo "rank $HOCKET_RANK: $?"' _ "$python" "$programs/end.py" 1 "$how"
    began=$(sed -n 's/^ends at //p' "$work/out")
    took=$("$python" -c 'import sys, time; print(time.time() - float(sys.argv[1]) < 10)' "${began:-0}")
    same "a rank that is $how: all gone in 10 s" "$took" True    # test_mlx_mpi looks closer
    same "a rank that is $how: statuses" "$(grep '^rank ' "$work/out" | sort | tr '\n' ' ')" \
        "rank 0: 70 rank 1: $status rank 2: 70 "
    same "a rank that is $how: sentences" "$(grep -c '^hocket: ' "$work/err")" 2
    same "a rank that is $how: what they say" "$(grep -cE "^hocket: rank [02] of 3, .*: $sentence" "$work/err")" 2
}
test_ends() {
    end killed 137 'rank 1 is lost: it died'
    end raises 1 'rank 1 has left the group'
    end leaves 0 'rank 1 has left the group'
}

run_tests "$@"
