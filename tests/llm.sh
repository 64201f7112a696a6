#!/usr/bin/env bash
# The example llm on a real model: ranks that share it say what one says, token for token, and what goes
# wrong is a sentence on every rank. `make parity` compares more, and for longer.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"
source tests/kernels.bash
build=${HOCKET_BUILD_DIR:-build}
hocket=$build/bin/hocket
llm=$build/examples/llm
model=.deps/models/smollm2.gguf

if ! ls "$build"/lib/libhocket-mlx.* >/dev/null 2>&1; then
    echo "llm: skipped, libhocket-mlx is not built here"
    exit 77
fi
if ! why=$(scripts/model.sh 2>&1); then
    echo "llm: skipped, the model cannot be downloaded:"
    echo "$why"
    exit 77
fi

LIMIT=100     # seconds for one run
tokens=16
[ -z "${HOCKET_SANITIZE:-}" ] || tokens=3
prompt='Write a short story about a dog.'
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0
fail() {
    echo "llm: $*"
    failures=$((failures + 1))
}

# run NAME RANKS OPTION...: text into NAME.out, the rest into NAME.err.
run() {
    local name=$work/$1 ranks=$2
    shift 2
    "$hocket" run -n "$ranks" --backend "${backend:-shm}" --timeout $LIMIT -- \
        sh -c "$OWN_KERNELS" "$work/kernels" "$llm" \
        --tokens "$tokens" "$@" >"$name.out" 2>"$name.err" </dev/null
}
ids() { sed -n 's/.*"tokens": \[\([0-9,]*\)\].*/\1/p' "$work/$1.err"; }

# same NAME RANKS OPTION...: it says what the first run said.
same() {
    local name=$1
    run "$@" --model $model --prompt "$prompt" --json || {
        fail "$name: status $?: $(cat "$work/$name.err")"
        return
    }
    [ "$(ids "$name")" = "$(ids alone)" ] ||
        fail "$name: tokens $(ids "$name"), not $(ids alone)"
    cmp -s "$work/$name.out" "$work/alone.out" ||
        fail "$name: the text differs, or came more than once: $(cat "$work/$name.out")"
}

test_parity() {
    run alone 1 --model $model --prompt "$prompt" --json --device cpu ||
        fail "alone: status $?: $(cat "$work/alone.err")"
    [ "$(ids alone | tr ',' '\n' | wc -l)" -eq "$tokens" ] || fail "alone: $(ids alone)"
    if [ "$tokens" = 16 ]; then
        grep -q '^As I stepped out of the car, ' "$work/alone.out" ||
            fail "the story begins with $(cat "$work/alone.out")"
    fi
    same tp2-cpu 2 --parallel tp --device cpu
    same pp2-cpu 2 --parallel pp --device cpu
    same shares-cpu 2 --parallel tp --shares 2:1 --device cpu
    same grid-cpu 4 --parallel tp,pp --device cpu
    same alone-mlx 1 --device mlx
    same tp2-mlx 2 --parallel tp --device mlx
    backend=tcp same pp2-mlx 2 --parallel pp --device mlx
    [ -n "${HOCKET_SANITIZE:-}" ] || backend=mlx:ring same ring 2 --parallel tp --device mlx
}

# With four bits the tokens are others, but the same for one and for two.
test_packed_weights() {
    local first=
    for case in "1 cpu" "2 cpu" "2 mlx"; do
        run packed ${case% *} --device ${case#* } --weights q4 --model $model --prompt "$prompt" --json ||
            fail "q4, $case: $(cat "$work/packed.err")"
        [ -n "$first" ] || first=$(ids packed)
        [ "$(ids packed)" = "$first" ] || fail "q4, $case: tokens $(ids packed), not $first"
    done
}

# A seed repeats what it picked, on one rank and on two.
test_seeds() {
    local first=
    for case in "1 7" "2 7" "1 8"; do
        run seed ${case% *} --device cpu --temperature 1.5 --top-p 1 --seed ${case#* } \
            --model $model --prompt "$prompt" --json || fail "seed $case: $(cat "$work/seed.err")"
        [ -n "$first" ] || first=$(ids seed)
        if [ "$case" = "1 8" ]; then
            [ "$(ids seed)" != "$first" ] || fail "seeds 7 and 8 pick the same"
        else
            [ "$(ids seed)" = "$first" ] || fail "seed $case: $(ids seed), not $first"
        fi
    done
}

# refused WHAT RANKS WORDS OPTION...: a status, and a sentence with these words from every rank.
refused() {
    local what=$1 ranks=$2 words=$3 rank
    shift 3
    run refused "$ranks" --device cpu "$@" && fail "$what is no error"
    for ((rank = 0; rank < ranks; rank++)); do
        grep "^llm: rank $rank: " "$work/refused.err" | grep -qF -- "$words" ||
            fail "$what: rank $rank does not say '$words': $(cat "$work/refused.err")"
    done
    [ ! -s "$work/refused.out" ] || fail "$what: text came: $(cat "$work/refused.out")"
}

# patched FROM TO ...: a copy of the model in which these bytes (of Python) are others.
patched() {
    python3 - "$model" "$work/patched.gguf" "$@" <<END || fail "the model could not be patched"
import ast, sys
data = open(sys.argv[1], "rb").read()
texts = [ast.literal_eval(text) for text in sys.argv[3:]]
for old, new in zip(texts[::2], texts[1::2]):
    assert data.count(old) == 1
    data = data.replace(old, new)
open(sys.argv[2], "wb").write(data)
END
}

test_errors() {
    local ask=(--prompt "$prompt")
    refused "a file that is not there" 2 /nowhere.gguf --model /nowhere.gguf "${ask[@]}"
    echo "no model" >"$work/text.gguf"
    refused "a file that is no GGUF" 2 "is not a GGUF file" --model "$work/text.gguf" "${ask[@]}"
    head -c 50000000 $model >"$work/short.gguf"
    refused "a truncated file" 2 "cut off" --model "$work/short.gguf" "${ask[@]}"
    patched 'b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama"' \
            'b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0mamba"'
    refused "another architecture" 2 "'mamba'" --model "$work/patched.gguf" "${ask[@]}"
    patched 'b"blk.7.ffn_up.weight"' 'b"blk.7.ffn_xx.weight"'
    refused "a missing tensor" 2 "blk.7.ffn_up.weight" --model "$work/patched.gguf" "${ask[@]}"
    patched 'b"llama.context_length\x04\0\0\0\0\x20\0\0"' \
            'b"llama.context_length\x04\0\0\0\x10\0\0\0"'
    refused "a long prompt" 2 "the model can see 16" --model "$work/patched.gguf" "${ask[@]}"
    patched 'b"llama.attention.head_count\x04\0\0\0\x09\0\0\0"' \
            'b"llama.attention.head_count\x04\0\0\0\0\0\x90\0"' \
            'b"llama.rope.dimension_count\x04\0\0\0\x40\0\0\0"' \
            'b"llama.attention.key_length\x04\0\0\0\x40\x02\0\0"'
    refused "heads beyond all width" 2 "9437184 heads of 576" --model "$work/patched.gguf" "${ask[@]}"
    refused "too many ranks" 10 "10 ranks cannot share 9 heads" --model $model "${ask[@]}"
    refused "a wrong number of shares" 2 "--shares has 3 numbers" --model $model --shares 1:1:1 \
            "${ask[@]}"
    run usage 1 --model $model && fail "no prompt is no error"
    grep -q "^llm: --model and --prompt" "$work/usage.err" || fail "usage: $(cat "$work/usage.err")"
}

# Rank 1 cannot load at once, rank 0 after longer than the launcher lets ranks go on: both say why.
test_rank_that_loads_slowly() {
    mkfifo "$work/0.gguf"
    { sleep 4; : >"$work/0.gguf"; } &
    local writer=$! rank
    "$hocket" run -n 2 --backend shm --timeout $LIMIT -- sh -c \
        'exec "$0" --model "$1/$HOCKET_RANK.gguf" --prompt x --device cpu' "$llm" "$work" \
        >"$work/slow.out" 2>"$work/slow.err" </dev/null && fail "ranks without a model are no error"
    for rank in 0 1; do
        grep -q "^llm: rank $rank: .*$work/$rank.gguf" "$work/slow.err" ||
            fail "rank $rank does not say what it misses: $(cat "$work/slow.err")"
    done
    kill $writer 2>/dev/null
    wait $writer
}

# Kills rank 1 once text has come. The other says who is lost, and nothing waits.
test_rank_that_dies() {
    local way=$1 before tries=0
    "$hocket" run -n 2 --backend shm --timeout $LIMIT -- sh -c \
        'echo $$ >"$0.$HOCKET_RANK"; exec "$@"' "$work/pid-$way" "$llm" --model $model --device cpu \
        --parallel "$way" --prompt "$prompt" --tokens 2000 >"$work/dies-$way.out" 2>"$work/dies-$way.err" \
        </dev/null &
    local job=$!
    until [ -s "$work/dies-$way.out" ] || ! kill -0 $job 2>/dev/null || [ $tries -ge 1000 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    before=$SECONDS
    kill -KILL "$(cat "$work/pid-$way.1")"
    wait $job && fail "$way: a killed rank is no error"
    # Without the news of it the others would wait for five minutes.
    [ $((SECONDS - before)) -lt 60 ] || fail "$way: ending took $((SECONDS - before)) s"
    grep -q "^llm: rank 0: .*rank 1" "$work/dies-$way.err" ||
        fail "$way: rank 0 does not say who died: $(cat "$work/dies-$way.err")"
    [ -s "$work/dies-$way.out" ] || fail "$way: no text came: $(cat "$work/dies-$way.err")"
}

test_parity
test_packed_weights
test_seeds
test_errors
test_rank_that_loads_slowly
test_rank_that_dies tp
test_rank_that_dies pp
[ "$failures" = 0 ] || exit 1
echo "llm: tp, pp and both say what one rank says; errors are told by all ranks"
