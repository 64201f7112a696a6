#!/usr/bin/env bash
# make check-rdma. What the language model says is asked on this machine, where it takes a second; in the
# guest two ranks then have to say the same over RDMA. RDMA_ONLY="loss 5%" runs the cases alone that
# have this in their name.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/common.sh
build=${HOCKET_BUILD_DIR:-build}

export HOCKET_GUEST_CPUS=2 HOCKET_GUEST_LIMIT=${HOCKET_GUEST_LIMIT:-2400}
PROMPT='The sun is'
TOKENS=3

tokens=
if ls "$build"/lib/libhocket-mlx.* >/dev/null 2>&1 && scripts/model.sh; then
    tokens=$(timeout 100 "$build/bin/hocket" run -n 1 --backend shm -- "$build/examples/llm" --model "$MODEL" \
        --prompt "$PROMPT" --tokens $TOKENS --raw --device cpu --json 2>&1 >/dev/null |
        sed -n 's/.*"tokens": \[\([0-9,]*\)\].*/\1/p')
else
    echo "skipped: without MLX or the model, no language model is run over RDMA"
fi
exec tests/guest/run.sh tests/rdma-vm/rdma.sh "MODEL=$MODEL" "PROMPT=$PROMPT" "TOKENS=$TOKENS" \
    "MODEL_SAYS=$tokens" "RDMA_ONLY=${RDMA_ONLY:-}"
