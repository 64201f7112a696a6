#!/usr/bin/env bash
# The first step's logits of the example llm against mlx-lm's on the same file.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"
build=${HOCKET_BUILD_DIR:-build}
source scripts/common.sh
source tests/kernels.bash

model=.deps/models/smollm2.gguf

skip() {
    echo "llm_logits: skipped, $1"
    exit 77
}
ls "$build"/lib/libhocket-mlx.* >/dev/null 2>&1 || skip "libhocket-mlx is not built here"
[ -z "${HOCKET_SANITIZE:-}" ] || skip "it tests arithmetic, which the release build has shown"
why=$(scripts/model.sh 2>&1) || skip "the model cannot be downloaded: $why"
python=$(find_python) || skip "there is no Python 3.10 with pip"
why=$(install_mlx_python 2>&1) || skip "mlx-lm cannot be installed: $(tail -n 1 <<<"$why")"

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
prompt='The three largest cities of Austria are Vienna, Graz and'
failures=0
# write NAME RANKS OPTION...
write() {
    local name=$1 ranks=$2
    shift 2
    "$build/bin/hocket" run -n "$ranks" --backend shm --timeout 100 -- \
        sh -c "$OWN_KERNELS" "$work/kernels" "$build/examples/llm" --raw \
        --model $model --prompt "$prompt" --tokens 1 --logits "$work/$name" "$@" >/dev/null 2>"$work/err" ||
        { echo "llm_logits: $name: $(cat "$work/err")"; failures=1; }
}
write cpu 1 --device cpu
write mlx 1 --device mlx
write tp2-mlx 2 --device mlx --parallel tp
write pp3-cpu 3 --device cpu --parallel pp
PYTHONPATH=$MLX_PYTHON "$python" tests/golden/llm_logits.py $model "$prompt" "$work"/{cpu,mlx,tp2-mlx,pp3-cpu} ||
    failures=1
exit $failures
