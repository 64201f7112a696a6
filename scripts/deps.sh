#!/usr/bin/env bash
# Gets what hocket is built from and leaves alone what is there: system packages from apt or Homebrew,
# MLX's wheel into .deps/mlx, Python's MLX and mlx-lm into .deps/mlx-python, a model that they share into
# .deps/models. With everything in place it only looks, which takes a moment.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

has() { command -v "$1" >/dev/null 2>&1; }
has_header() { echo "#include <$1>" | cc -E - >/dev/null 2>&1; }
has_module() { has pkg-config && pkg-config --exists "$1"; }

# libopenblas is opened at run time by this name, so no header or pkg-config file stands for it.
has_openblas() {
    if [ "$(uname -s)" = Darwin ]; then
        return 0    # Accelerate serves there
    fi
    # Not grep -q: it would hang up on ldconfig, and pipefail would call that a failure.
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep 'libopenblas\.so\.0' >/dev/null
}

# One line for each thing that is missing: Debian's package, Homebrew's package.
missing_packages() {
    has cc || echo "gcc -"
    has c++ || echo "g++ -"
    has make || echo "make make"
    has cmake || echo "cmake cmake"
    has pkg-config || echo "pkg-config pkg-config"
    has_module libsodium || echo "libsodium-dev libsodium"
    has_module libcjson || echo "libcjson-dev cjson"
    has_module cmocka || echo "libcmocka-dev cmocka"
    has_openblas || echo "libopenblas0 -"
    find_python >/dev/null || echo "python3-pip python"
}

# What only some of hocket is built from, or tested with: the modules for each MPI, hosts behind ssh or in
# network namespaces, the other shell that the command completes in, rdma-core's headers (hocket is built
# without them; a test compares its own with them).
missing_extras() {
    [ "$(uname -s)" = Darwin ] || has ip || echo "iproute2 -"
    [ "$(uname -s)" = Darwin ] || has sshd || [ -x /usr/sbin/sshd ] || echo "openssh-server -"
    has ssh || echo "openssh-client -"
    has zsh || echo "zsh zsh"
    has mpicc.openmpi || [ "$(uname -s)" = Darwin ] || printf '%s\n' "libopenmpi-dev -" "openmpi-bin -"
    has mpicc.mpich || [ "$(uname -s)" = Darwin ] || printf '%s\n' "libmpich-dev -" "mpich -"
    [ "$(uname -s)" = Darwin ] || has_header infiniband/verbs.h || echo "libibverbs-dev -"
    has mpicc || [ "$(uname -s)" != Darwin ] || echo "- open-mpi"
}

install_with_apt() {
    local root=env
    if [ "$(id -u)" != 0 ]; then
        has sudo || return 1
        root="sudo env"
    fi
    $root apt-get update -q || true    # an old list may still know the packages
    $root DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@"
}

# install LIST: what that function finds missing. Fails, with $packages still to be had, where it cannot.
install() {
    local column=1
    [ "$(uname -s)" = Darwin ] && column=2
    packages=$("$1" | cut -d' ' -f$column | grep -v '^-$' | sort -u || true)
    [ -n "$packages" ] || return 0
    echo "deps: installing" $packages >&2
    if has apt-get && install_with_apt $packages; then
        return 0
    fi
    has brew && brew install $packages
}

install_system_packages() {
    install missing_packages && return 0
    echo "deps: could not install by itself; please install these packages:" $packages >&2
    exit 1
}

# Where they cannot be had hocket is built without, and tests skip, saying so.
install_extras() {
    install missing_extras >&2 ||
        echo "deps: without $(echo $packages): some of hocket is left out, and its tests" >&2
}

install_mlx() {
    local package=mlx-cpu
    [ "$(uname -s)" = Darwin ] && package=mlx-metal
    if [ -n "${HOCKET_MLX_ROOT:-}" ]; then
        return 0    # the caller brings an own MLX
    fi
    install_wheel "$package==$MLX_VERSION" .deps/mlx
}

# Without them hocket is whole, but tests and benchmarks of programs on MLX are skipped.
install_programs() {
    install_mlx_python || echo "deps: without MLX for Python: its tests are skipped" >&2
    scripts/model.sh || echo "deps: without the model: its tests are skipped" >&2
}

install_system_packages
install_extras
install_mlx
install_programs
