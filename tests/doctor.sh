#!/usr/bin/env bash
# hocket doctor says what is there: held against what this host says by itself, and against libraries
# of our own that say what they are told to, crash, or hang.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
headers=${HOCKET_MLX_ROOT:-}/include
sanitize=${HOCKET_SANITIZE:-}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
unset "${!HOCKET_@}"
export HOCKET_MLX_LIB=/nowhere    # MLX takes a second to load; its line has a check of its own

cases=0
faults=0
# says NAME REGEX: the line of that name is like this.
says() {
    local line
    line=$(sed -n "s/^$1  *//p" "$work/out")
    cases=$((cases + 1))
    if ! grep -qE -- "^$2\$" <<<"$line"; then
        echo "doctor: $1 says '$line', which is not like '$2'"
        faults=$((faults + 1))
    fi
}
doctor() { timeout 60 "$hocket" doctor >"$work/out" 2>"$work/err"; }

doctor
cases=$((cases + 2))
[ "$(wc -l <"$work/out")" -le 40 ] || { echo "doctor: more than a screen"; faults=$((faults + 1)); }
[ ! -s "$work/err" ] || { cat "$work/err"; faults=$((faults + 1)); }
says version 'hocket [0-9.]+'
says host "$(uname -n): [0-9]+ cores?, [0-9.]+ GiB of memory, $(uname -s) .* on $(uname -m)"
says library '/.*libhocket\.[^ ]*'
says network '.*lo0? (127\.0\.0\.1|::1).*'
says 'ranks by' '([^ ]+ [^ ]+, the default route; .*|loopback alone, .*)'
says MLX 'none: /nowhere does not load: .*'
says secret 'none set here; .*'

# Python, and MLX in it.
python='[0-9.]+ \(/.*\)'
PYTHONPATH=/nowhere doctor
says Python "($python (without MLX: .*|with MLX .*)|none: there is no python3 in PATH)"
source scripts/common.sh
if command -v python3 >/dev/null && PYTHONPATH=$MLX_PYTHON python3 -c 'import mlx.core, mlx_lm._version' 2>/dev/null &&
    [ -z "$sanitize" ]; then
    PYTHONPATH=$MLX_PYTHON doctor
    says Python "$python with MLX ${MLX_VERSION//./\\.} and mlx-lm [0-9.]+"
else
    echo "doctor: python3 does not load $MLX_PYTHON, so that it has MLX is not tried"
fi
mkdir "$work/python"
timeout 60 env "PATH=$work/python" "$hocket" doctor >"$work/out" 2>"$work/err"
says Python 'none: there is no python3 in PATH'
printf '#!/bin/sh\necho 3.99; kill -SEGV $$\n' >"$work/python/python3" && chmod +x "$work/python/python3"
timeout 60 env "PATH=$work/python:$PATH" "$hocket" doctor >"$work/out" 2>"$work/err"
says Python '3\.99; broken: it ends with signal 11'

HOCKET_COORDINATOR=127.0.0.1:4711 doctor
says 'ranks by' 'lo0? 127\.0\.0\.1, the way to HOCKET_COORDINATOR 127\.0\.0\.1'
HOCKET_COORDINATOR=nowhere doctor
says 'ranks by' 'unknown: HOCKET_COORDINATOR is "nowhere", not host:port'
HOCKET_COORDINATOR=no.such.host.invalid:1 doctor
says 'ranks by' 'none: there is no way to HOCKET_COORDINATOR no\.such\.host\.invalid: .+'
HOCKET_SECRET_FILE=/nowhere doctor
says secret 'set by HOCKET_SECRET_FILE'

if [ -e "${hocket%/bin/hocket}/hocket-mlx.pc" ]; then
    unset HOCKET_MLX_LIB
    doctor
    version=$(sed -n 's/^#define MLX_VERSION_[A-Z]* \([0-9][0-9]*\).*/\1/p' "$headers/mlx/version.h" \
        2>/dev/null | paste -sd. -)
    says MLX "${version:-[0-9]+}.*, computes on the [cg]pu"
    export HOCKET_MLX_LIB=/nowhere
fi

# RDMA devices: those of tests/verbs.
# lists SETTINGS: what doctor says of these devices is what stands on stdin.
lists() {
    cases=$((cases + 1))
    export HOCKET_FAKE_VERBS="dir=$work,$1"
    HOCKET_VERBS_LIBRARY=$(echo "${hocket%/bin/hocket}"/tests/libfake-verbs.*) doctor
    unset HOCKET_FAKE_VERBS
    sed -n '/^RDMA/,/^CUDA/{ s,by /.*/,by ,; s/  *$//; /^CUDA/!s/^.\{10\}//p; }' "$work/out" >"$work/list"
    diff - "$work/list" || { echo "doctor: with $1 it should say what is marked <"; faults=$((faults + 1)); }
}
lists count=2 <<'END'
2 devices by libfake-verbs.so
fake0: RC and UC, 1000 queue pairs, 10000 memory regions, queues of 16384, messages to 8192 KiB
  port 1: active, Ethernet, MTU 4096
    GID 1: fe80::1, RoCE v2
    GID 2: 10.66.0.1, RoCE v2, hocket's choice
fake1: RC and UC, 1000 queue pairs, 10000 memory regions, queues of 16384, messages to 8192 KiB
  port 1: active, Ethernet, MTU 4096
    GID 1: fe80::2, RoCE v2
    GID 2: 10.66.0.2, RoCE v2, hocket's choice
END
lists only=fake3,apple <<'END'
1 device by libfake-verbs.so
fake3: UC, 10 queue pairs, 100 memory regions, queues of 1023, messages to 8192 KiB
  port 1: down, Ethernet, MTU 4096
  port 2: active, Ethernet, MTU 4096, hocket's choice
    GID 1: fe80::4, RoCE v2
END
lists count=1,rc=0,down <<'END'
1 device by libfake-verbs.so
fake0: UC, 1000 queue pairs, 10000 memory regions, queues of 16384, messages to 8192 KiB
  port 1: down, Ethernet, MTU 4096
    GID 1: fe80::1, RoCE v2
    GID 2: 10.66.0.1, RoCE v2, hocket's choice
  device fake0: no port is active (the first is down): is the cable in, and the other end up?
END
lists count=1,nogid <<'END'
1 device by libfake-verbs.so
fake0: RC and UC, 1000 queue pairs, 10000 memory regions, queues of 16384, messages to 8192 KiB
  port 1: active, Ethernet, MTU 4096
    no GID, so it cannot be used: its network interface has no address, or is down
END
lists count=1,broken <<'END'
1 device by libfake-verbs.so
fake0: device fake0: opening it: Permission denied (errno 13); this user may not use /dev/infiniband/*
END
export HOCKET_FAKE_VERBS=dir=$work,count=0
HOCKET_VERBS_LIBRARY=$(echo "${hocket%/bin/hocket}"/tests/libfake-verbs.*) doctor
unset HOCKET_FAKE_VERBS
says RDMA 'none: this (host|Mac) has no RDMA device: .*'
HOCKET_VERBS_LIBRARY=/nowhere/libibverbs.so.1 doctor
says RDMA 'none: /nowhere/libibverbs\.so\.1 does not load: .*'

# The engines: libraries of their names that come first.
if [ "$(uname -s)" != Linux ] || [ -n "$sanitize" ]; then
    echo "doctor: $cases lines, $faults faults; libraries of our own are tried on plain Linux alone"
    exit $((faults > 0))
fi
library() { ${CC:-cc} -shared -fPIC -x c - -o "$work/lib/$1"; }
fake() { LD_LIBRARY_PATH=$work/lib PATH=$work/bin:$PATH doctor; }
mkdir "$work/lib" "$work/bin"
printf '#!/bin/sh\n' >"$work/bin/mpirun" && chmod +x "$work/bin/mpirun"
library libmpi.so.40 <<'END'
#include <string.h>
int MPI_Get_library_version(char *text, int *length)
{
    *length = (int)strlen(strcpy(text, "Open MPI v9.8.7, package: x"));
    return 0;
}
END
library libmpich.so.12 <<'END'
#include <string.h>
int MPI_Get_library_version(char *text, int *length)
{
    *length = (int)strlen(strcpy(text, "MPICH Version:\t6.5.4\nMPICH Device: x"));
    return 0;
}
END
cp "$work/lib/libmpich.so.12" "$work/lib/libmpi.so.12"    # the same by another name
library libcuda.so.1 <<'END'
#include <stdio.h>
int cuInit(unsigned flags) { puts("a stranger's chatter"); return (int)flags; }
int cuDriverGetVersion(int *version) { *version = 13020; return 0; }
int cuDeviceGetCount(int *count) { *count = 3; return 0; }
int cuDeviceGetName(char *name, int size, int device)
{
    snprintf(name, (unsigned)size, "%s", device < 2 ? "Card A" : "Card B");
    return 0;
}
END
library libnccl.so.2 <<<'int ncclGetVersion(int *version) { *version = 22809; return 0; }'
fake
says MPI "Open MPI v9\.8\.7 \(libmpi\.so\.40\), MPICH 6\.5\.4 \(libmpich\.so\.12\); mpirun is $work/bin/mpirun"
says CUDA '13\.2, 3 devices: Card A, Card B'
says NCCL '2\.28\.9 \(libnccl\.so\.2\)'
grep -q chatter "$work/out" "$work/err" && { echo "doctor: chatter comes through"; faults=$((faults + 1)); }

library libcuda.so.1 <<<'int cuInit(unsigned flags) { return 100 + (int)flags; }'
library libnccl.so.2 <<<'int ncclGetVersion(int *v) { __builtin_trap(); return *v; }'
library libmpi.so.40 <<<'int no_mpi;'
fake
says CUDA 'none: libcuda\.so\.1 is here, but CUDA does not start \(error 100\)'
says NCCL 'broken: looking for it ends with signal [0-9]+'
says MPI "MPICH 6\.5\.4 \(libmpich\.so\.12\); mpirun is .*"

library libnccl.so.2 <<<'unsigned sleep(unsigned); int ncclGetVersion(int *v) { for (;;) *v = (int)sleep(1); }'
fake
says NCCL 'unknown: looking for it took more than 10 s'

# Networks and devices: those of a namespace of our own.
if ! unshare -rmn true 2>/dev/null || ! command -v ip >/dev/null; then
    echo "doctor: there are no namespaces here, so networks and RDMA devices are not tried"
else
    inside() { unshare -rmn bash -c "$1; timeout 60 $hocket doctor" >"$work/out" 2>"$work/err"; }
    inside true
    says network 'none: no interface is up, not even loopback'
    says 'ranks by' 'loopback alone, for ranks of this host: no route leads elsewhere (.+)'
    wires='ip link set lo up
        ip link add one type veth peer name far && ip link add two type veth peer name away
        ip address add 10.9.1.1/24 dev one && ip address add 10.9.2.1/24 dev two
        for link in one far two away; do ip link set $link up; done'
    inside "$wires"
    says network 'one 10\.9\.1\.1, two 10\.9\.2\.1, .*lo 127\.0\.0\.1.*'
    inside "$wires; export HOCKET_COORDINATOR=10.9.2.7:99"
    says 'ranks by' 'two 10\.9\.2\.1, the way to HOCKET_COORDINATOR 10\.9\.2\.7'
    inside "$wires; ip route add default via 10.9.1.9"
    says 'ranks by' 'one 10\.9\.1\.1, the default route; .*'

    inside "$wires; ip address add 2001:db8::1/64 dev two nodad; ip route add default via 2001:db8::9"
    says 'ranks by' 'two 2001:db8::1, the default route; .*'

    inside 'mount -t tmpfs none /sys/class && mkdir /sys/class/infiniband'
    says RDMA 'none: (this host has no RDMA device: .*|libibverbs\.so\.1 .*)'
    inside 'mount -t tmpfs none /sys/class && mkdir -p /sys/class/infiniband/mlx5_0/ports/1 &&
        echo "4: ACTIVE" >/sys/class/infiniband/mlx5_0/ports/1/state'
    says RDMA 'none: .*; the kernel has mlx5_0 \(ACTIVE\)'
fi

echo "doctor: $cases lines, $faults faults"
[ "$faults" = 0 ]
