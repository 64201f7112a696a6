#!/usr/bin/env bash
# Fuzzes the targets of tests/fuzz: fuzz.sh [TARGET] [SECONDS]. Without TARGET all of them, one after
# the other, SECONDS (60) each. What is found beyond the seeds stays in build-fuzz/corpus/TARGET for the
# next run; an input that breaks something goes to build-fuzz/found and, once mended, into
# tests/fuzz/corpus/TARGET, where `make check` replays it. To shrink a corpus:
#     build-fuzz/fuzz/fuzz_TARGET -set_cover_merge=1 NEW_FOLDER build-fuzz/corpus/TARGET
set -uo pipefail
cd "$(dirname "$0")/.."

targets=${1:-$(cd tests/fuzz && ls ./*.c | grep -v replay | sed 's|^\./||; s|\.c$||')}
seconds=${2:-60}

probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d == 0 && n > 0; }' >"$probe/probe.c"
if ! command -v clang >/dev/null; then
    echo "fuzz: clang is missing; install it (Debian: clang and libclang-rt-dev)" >&2
    exit 1
elif ! clang -fsanitize=fuzzer,address,undefined -o "$probe/probe" "$probe/probe.c" 2>"$probe/log"; then
    sed 's/^/fuzz: /' "$probe/log" >&2
    echo "fuzz: this clang has no libFuzzer; install its runtime (Debian: libclang-rt-VERSION-dev," \
         "macOS: Homebrew's llvm)" >&2
    exit 1
fi

cmake --preset fuzz >/dev/null || exit 1
# A length from a peer may ask for more memory than there is: then malloc says so.
ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:max_allocation_size_mb=1024
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
status=0
mkdir -p build-fuzz/found
for target in $targets; do
    cmake --build build-fuzz --target "fuzz_$target" -j"${JOBS:-2}" >"$probe/log" 2>&1 || {
        cat "$probe/log" >&2
        exit 1
    }
    mkdir -p "build-fuzz/corpus/$target"
    echo "== fuzz: $target for $seconds s"
    # 3: what the target itself prints is dropped, reports of sanitizers are not.
    nice -n 19 "build-fuzz/fuzz/fuzz_$target" -close_fd_mask=3 -max_total_time="$seconds" \
        -rss_limit_mb=2048 -timeout=10 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/found/$target-" \
        "build-fuzz/corpus/$target" "tests/fuzz/corpus/$target" >"build-fuzz/found/$target.log" 2>&1
    code=$?
    grep -E '^(ERROR|SUMMARY|==[0-9]+==ERROR|Test unit written|stat::number|.*not so:)' \
        "build-fuzz/found/$target.log"
    grep -E '\bcov: ' "build-fuzz/found/$target.log" | tail -n 1
    if [ "$code" != 0 ]; then
        echo "fuzz: $target broke; build-fuzz/found/$target.log tells how" >&2
        status=1
    fi
done
exit $status
