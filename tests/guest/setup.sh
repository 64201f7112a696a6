#!/usr/bin/env bash
# Gets what the guest is made of: QEMU, busybox and the RDMA library from apt, Debian's stock kernel
# unpacked (never installed) into ${HOCKET_GUEST_DIR:-.deps/guest}, and an initrd of busybox, the init
# beside this file and the kernel's modules for 9p, overlays, veth, bridges, netem and soft-RoCE. With
# everything in place it only makes the initrd again. Exits with 77, saying why, where that cannot be
# had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
mkdir -p "${HOCKET_GUEST_DIR:=.deps/guest}"
cd "$HOCKET_GUEST_DIR"

# In the order of loading: each after those it needs.
MODULES="virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev
         virtio/virtio_pci netfs/netfs fscache/fscache 9p/9pnet 9p/9pnet_virtio fs/9p/9p
         overlayfs/overlay net/veth llc/llc 802/stp bridge/bridge sched/sch_netem
         crypto/crc32_generic ipv4/udp_tunnel ipv6/ip6_udp_tunnel infiniband/core/ib_core
         infiniband/core/ib_uverbs infiniband/sw/rxe/rdma_rxe"

skip() {
    echo "skipped: $1"
    exit 77
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the guest runs the programs of a Linux host on x86-64"

has_tools() {
    command -v qemu-system-x86_64 && command -v ip && command -v tc && command -v cpio &&
        command -v xz && command -v ibv_rc_pingpong && busybox sh -c : &&
        [ -e /etc/libibverbs.d/rxe.driver ]
} >/dev/null 2>&1

get_tools() {
    command -v apt-get >/dev/null || skip "there is no apt-get to install QEMU with"
    [ "$(id -u)" = 0 ] || skip "installing QEMU needs root"
    apt-get update -q || true    # an old list may still know the packages
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        qemu-system-x86 busybox-static iproute2 cpio xz-utils ibverbs-utils ibverbs-providers ||
        skip "apt-get could not install QEMU"
}

get_kernel() {
    local package
    command -v apt-get >/dev/null || skip "there is no apt-get to download a kernel with"
    package=$(apt-cache depends linux-image-amd64 2>/dev/null |
        awk '/Depends: linux-image/ { print $2; exit }') || true
    [ -n "$package" ] || skip "apt knows no linux-image-amd64"
    rm -rf kernel new
    mkdir new
    (cd new && apt-get -q -o APT::Sandbox::User=root download "$package") ||
        skip "apt-get could not download $package"
    dpkg-deb -x new/*.deb new/tree
    mv new/tree kernel
    rm -rf new
}

# add_module NAME PLACE: puts the module, unpacked, into the initrd's tree; PLACE orders them.
add_module() {
    local found file
    found=$(find kernel/lib/modules -path "*/$1.ko*" | head -n 1)
    [ -n "$found" ] || { echo "the kernel has no module $1" >&2; return 1; }
    file=tree/modules/$(printf %02d "$2")-$(basename "$1").ko
    case $found in
    *.xz) xz -dc "$found" >"$file" ;;
    *) cp "$found" "$file" ;;
    esac
}

make_initrd() {
    local order=0 module
    rm -rf tree
    mkdir -p tree/bin tree/modules
    cp "$(command -v busybox)" tree/bin/busybox
    cp "$here/init" tree/init
    chmod +x tree/init
    for module in $MODULES; do
        add_module "$module" $((order += 1))
    done
    (cd tree && find . | cpio -o -H newc --quiet) | gzip -1 >initrd.gz
    rm -rf tree
}

has_tools || get_tools
compgen -G 'kernel/boot/vmlinuz-*' >/dev/null || get_kernel
make_initrd
