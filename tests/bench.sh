#!/usr/bin/env bash
# `hocket bench` on 2 and 3 ranks over tcp and shm: each collective has a line with sane numbers, from rank 0
# alone. What it says to wrong arguments is in tests/golden; its check is in tests/test_public_bench.c.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
[ -x "$hocket" ] || { echo "bench: $hocket was not built"; exit 1; }
unset HOCKET_BACKEND HOCKET_TUNE
command -v timeout >/dev/null || timeout() { shift && "$@"; }    # macOS: ctest's limit is left

faults=0
fault() {
    echo "bench: $*"
    faults=$((faults + 1))
}

# bench RANKS BACKEND ARGUMENT...: its output in $out.
bench() {
    local ranks=$1 backend=$2
    shift 2
    out=$(timeout 100 "$hocket" run -n "$ranks" --backend "$backend" -- \
          "$hocket" bench --seconds 0.001 "$@" </dev/null 2>&1) ||
        fault "$ranks ranks over $backend, $*: status $?: $out"
}

# lines WANTED: so many lines, and each is an object whose times are in order.
lines() {
    [ "$(wc -l <<<"$out")" = "$1" ] || fault "wanted $1 lines: $out"
    awk '
        function field(name) {
            if (!match($0, "\"" name "\": [0-9.e+-]+"))
                return -1
            return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4) + 0
        }
        !/^\{"operation": "[a-z_]+", .*\}$/ { print "bench: no object: " $0; bad = 1 }
        {
            low = field("min_us"); middle = field("median_us"); high = field("max_us")
            if (!(low > 0 && low <= middle && middle <= high && field("batches") >= 5 &&
                  field("iterations") >= 1)) { print "bench: odd times: " $0; bad = 1 }
        }
        END { exit bad }' <<<"$out" || faults=$((faults + 1))
}

for backend in tcp shm; do
    bench 2 $backend all --bytes 4,5000 --json
    lines 27    # 13 at two sizes, and barrier
    [ "$(grep -c "\"backend\": \"$backend\"" <<<"$out")" = 27 ] || fault "not all over $backend: $out"
done
bench 3 shm all_reduce reduce_scatter --bytes 1K:64K --dtype bf16 --op mean --memory alloc --json
lines 8
bench 2 tcp send barrier --bytes 8 --rounds 2 --json
lines 4
[ "$(grep -c '"round": 2' <<<"$out")" = 2 ] || fault "no second round: $out"

# The bandwidths: the size by the time, times 2(n-1)/n for all_reduce.
bench 3 tcp all_reduce --bytes 3000 --json
awk '{
    gsub(/[",{}]/, "")
    for (i = 1; i < NF; i++) if ($i ~ /:$/) v[$i] = $(i + 1)
    speed = v["bytes:"] / v["median_us:"] / 1000
    near = v["alg_gb_s:"] / speed
    bus = v["bus_gb_s:"] / v["alg_gb_s:"] * 3 / 4
    exit !(v["bytes:"] == 3000 && near > 0.99 && near < 1.01 && bus > 0.99 && bus < 1.01)
}' <<<"$out" || fault "wrong bandwidth: $out"

# The table: a head of two lines and a row for each size, once.
bench 2 tcp all_gather --bytes 16:1K
[ "$(wc -l <<<"$out")" = 6 ] && [ "$(grep -c 'all_gather, 2 ranks over tcp' <<<"$out")" = 1 ] ||
    fault "not a table: $out"

# One rank has nobody to send to.
if out=$(timeout 20 "$hocket" bench send 2>&1); then
    fault "send on one rank worked: $out"
fi

# --tune: a table of what was tried, and rows that a job then takes; what is of others stays behind them.
table=$(mktemp) || exit 1
trap 'rm -f "$table" "$table.new"' EXIT
cat >"$table" <<'END'
# mine
all_reduce messages 7 0-1K tree
broadcast messages 2 0- tree
all_reduce messages 2 0- ring
END
bench 2 tcp --tune "$table" all_reduce reduce_to --bytes 64,1K,64K --seconds 0.001 --rounds 1
[ "$(grep -c 'by messages, 2 ranks over tcp' <<<"$out")" = 2 ] &&
    [ "$(grep -cE '^ +(64|1024|65536) .*  (built-in|flat|tree|direct|ring)$' <<<"$out")" = 6 ] ||
    fault "not a table of ways: $out"
grep -qx '# mine' "$table" && grep -qx 'all_reduce messages 7 0-1K tree' "$table" &&
    grep -qx 'broadcast messages 2 0- tree' "$table" || fault "what is of others is gone: $(cat "$table")"
grep -q 'all_reduce messages 2 0- ring' "$table" && fault "an old row of what was measured has stayed"
HOCKET_TUNE=$table bench 2 tcp all_reduce --bytes 64 --json
lines 1
bench 3 shm --tune "$table" --bytes 64,64K --seconds 0.001 --rounds 1
[ "$(grep -cE '^ +(64|65536) .*  (built-in|flat|tree|direct|ring|staged|read)$' <<<"$out")" = 14 ] ||
    fault "not a table of all that has several ways: $out"
awk '/^[a-z]/ && NF != 5 { bad = 1 } END { exit bad }' "$table" || fault "no rows: $(cat "$table")"
[ ! -e "$table.new" ] || fault "the table's other name is left"

# What cannot end well is said before anything is measured.
# refused SENTENCE ARGUMENT...
refused() {
    local sentence=$1
    shift
    out=$(timeout 60 "$hocket" run -n 2 --backend tcp -- "$hocket" bench "$@" </dev/null 2>&1) &&
        fault "$*: worked"
    grep -q "$sentence" <<<"$out" && ! grep -q 'by messages' <<<"$out" || fault "$*: $out"
}
refused 'cannot be written: No such file' --tune /no/such/folder/table
refused 'one way only' --tune "$table" all_to_all
refused 'ascending' --tune "$table" --bytes 64K,64
echo 'all_reduce by pigeon' >>"$table"
refused 'is not like' --tune "$table"

[ "$faults" = 0 ] || exit 1
echo "bench: every collective was measured over tcp and shm"
