# Shared by bench_peers.sh, bench_mlx.sh and bench_scale.sh; sourced, not run. They take --no-install, for
# machines without a network: then they measure against what is there.

BENCH=build/bench            # programs, raw results, logs; may be carried to another machine with build/
RESULTS=bench/results
RUN_SECONDS_MAX=${RUN_SECONDS_MAX:-60}    # for any one run
hocket=build/bin/hocket

# What bench_carry.sh has packed, where there is such.
if [ -d root/lib ]; then
    export PATH=$PWD/root/bin:$PATH LD_LIBRARY_PATH=$PWD/root/lib
    export OPAL_PREFIX=$PWD/root OPAL_BINDIR=$PWD/root/bin OPAL_LIBDIR=$PWD/root/lib
    export OPAL_PKGLIBDIR=$PWD/root/openmpi OPAL_PKGDATADIR=$PWD/root/openmpi-share
    export PMIX_PREFIX=$PWD/root PMIX_PKGLIBDIR=$PWD/root/pmix
fi

say() { echo "${0##*/}: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# launcher PATTERN CANDIDATE...: the first candidate whose --version matches.
launcher() {
    local pattern=$1 candidate says
    shift
    for candidate; do
        # Not into a pipe: grep -q would hang up on the launcher, and pipefail would call that a failure.
        if has "$candidate" && says=$(timeout 20 "$candidate" --version 2>&1) && grep -qiE "$pattern" <<<"$says"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Sets openmpi_run and mpich_run, empty where there is none. OPENMPI_RUN and MPICH_RUN name others.
find_mpis() {
    openmpi_run=$(launcher 'open.?mpi|openrte' ${OPENMPI_RUN:-} mpirun.openmpi mpirun mpiexec) || true
    mpich_run=$(launcher 'hydra|mpich' ${MPICH_RUN:-} mpirun.mpich mpiexec.hydra mpirun mpiexec) || true
}

install_packages() {
    local packages=() root=()
    [ -n "$openmpi_run" ] && has mpicc.openmpi || packages+=(libopenmpi-dev openmpi-bin)
    [ -n "$mpich_run" ] && has mpicc.mpich || packages+=(libmpich-dev mpich)
    has gnuplot || packages+=(gnuplot-nox)
    [ ${#packages[@]} -gt 0 ] || return 0
    if ! has apt-get; then
        say "not here, and there is no apt-get to install them: ${packages[*]}"
        return 0
    fi
    [ "$(id -u)" = 0 ] || root=(sudo)
    say "installing ${packages[*]}"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        "${packages[@]}" >"$BENCH/apt.log" 2>&1 ||
        { "${root[@]}" apt-get update -q && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
              apt-get install -q -y --no-install-recommends "${packages[@]}"; } >>"$BENCH/apt.log" 2>&1 ||
        say "could not install all of them; see $BENCH/apt.log"
    find_mpis
}

# compile NAME LAUNCHER: the benchmark for one MPI, by the compiler that belongs to its launcher. Where there
# is no compiler, a program that was built before and carried here serves.
compile() {
    local name=$1 run=$2 compiler program=$BENCH/mpi-$1
    for compiler in "$(dirname "$run")/mpicc.$name" "mpicc.$name" "$(dirname "$run")/mpicc"; do
        has "$compiler" || continue
        "$compiler" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Itools/hocket bench/peers/mpi.c \
            tools/hocket/bench/measure.c tools/hocket/bench/print.c -o "$program.new" \
            2>"$program.log" && mv "$program.new" "$program" && return 0
        say "$compiler does not build bench/peers/mpi.c; see $program.log"
    done
    [ -x "$program" ] && [[ "$(ldd "$program" 2>&1)" != *'not found'* ]]
}

# prepare [--no-install]: after it openmpi_run, mpich_run and mlx_python say what can be measured.
prepare() {
    mkdir -p $BENCH $RESULTS
    [ -x $hocket ] || { say "$hocket is not there; run make"; exit 1; }
    find_mpis
    if [ "${1:-}" != --no-install ]; then
        install_packages
        install_mlx_python || say "MLX's wheel could not be installed"
    fi
    if [ -n "$openmpi_run" ] && ! compile openmpi "$openmpi_run"; then openmpi_run=; fi
    if [ -n "$mpich_run" ] && ! compile mpich "$mpich_run"; then mpich_run=; fi
    mlx_python=
    if [ -d $MLX_PYTHON/mlx ]; then
        mlx_python=$(find_python || command -v python3 || true)
        if ! PYTHONPATH=$MLX_PYTHON timeout 60 "${mlx_python:-false}" -c 'import mlx.core' \
                2>>$BENCH/mlx.log; then
            mlx_python=
        fi
    fi
    [ -n "$openmpi_run" ] || say "Open MPI is not here"
    [ -n "$mpich_run" ] || say "MPICH is not here"
    [ -n "$mlx_python" ] || say "MLX for Python is not here"
    unset HOCKET_BACKEND
    openmpi=("$openmpi_run" --oversubscribe --bind-to none)
    [ "$(id -u)" = 0 ] && openmpi+=(--allow-run-as-root)
    mpich=("$mpich_run")
}

# The machine as one line of JSON.
describe_machine() {
    local cpu memory
    cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -1 || true)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo 2>/dev/null || true)
    printf '{"machine": {"processor": "%s", "cores": "%s", "memory": "%s", "system": "%s", ' \
        "${cpu:-unknown}" "$(getconf _NPROCESSORS_ONLN)" "${memory:-unknown}" "$(uname -srm)"
    printf '"load before": "%s", "hocket": "%s", "Open MPI": "%s", "MPICH": "%s", "MLX": "%s"}}\n' \
        "$(uptime | sed 's/.*average[s]*: //')" \
        "$($hocket --version | cut -d' ' -f2) $(git rev-parse --short HEAD 2>/dev/null || cat $BENCH/commit 2>/dev/null || true)" \
        "$([ -z "$openmpi_run" ] || "$openmpi_run" --version 2>&1 | sed -n '1s/[^0-9]*//p')" \
        "$([ -z "$mpich_run" ] || "$mpich_run" --version 2>&1 | sed -n 's/^ *Version: *//p')" \
        "${mlx_python:+$MLX_VERSION}"
}

# A run that failed is counted and named.
failed() {
    failures=$((failures + 1))
    say "$*; see $BENCH/$NAME.log"
}

# measure_all ROUND RANKS OPERATION CONFIGURATION...: all sizes, each by everyone; who begins changes. The
# script's own `measure CONFIGURATION RANKS OPERATION SIZE` prints lines of JSON.
measure_all() {
    local round=$1 ranks=$2 operation=$3 size i config
    shift 3
    local by=("$@")
    for size in $SIZES; do
        for ((i = 0; i < ${#by[@]}; i++)); do
            config=${by[$(((i + round - 1) % ${#by[@]}))]}
            [ ! -t 2 ] || printf '\r\033[Kround %d of %d: %d ranks, %s of %s by %s' \
                "$round" "$ROUNDS" "$ranks" "$operation" "$size" "$config" >&2
            if ! measure "$config" "$ranks" "$operation" "$size" >"$BENCH/line"; then
                failed "$config failed: $operation of $size on $ranks ranks"
                continue
            fi
            sed "s/^{/{\"config\": \"$config\", \"size\": \"$size\", /; s/\"round\": [0-9]*/\"round\": $round/" \
                "$BENCH/line" >>"$raw"
        done
    done
}

# report KIND RAW: the page of what was measured.
report() {
    local python
    python=$(find_python || command -v python3) || { say "the report needs Python; $2 has the figures"; exit 1; }
    "$python" bench/report.py "$1" "$2" "$RESULTS/$(basename "$2" .jsonl)"
}
