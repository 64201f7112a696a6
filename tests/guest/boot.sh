#!/usr/bin/env bash
# boot.sh SCRIPT [NAME=VALUE...]: boots the guest that setup.sh made, in software emulation, runs
# SCRIPT in it as root, in this tree, with those variables set, and exits with its status; 125 when the
# guest did not come to say one. The guest sees the host's files at their paths; what it changes is gone
# afterwards.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
guest=${HOCKET_GUEST_DIR:-.deps/guest}
limit=${HOCKET_GUEST_LIMIT:-300}

exchange=$(mktemp -d)
trap 'rm -rf "$exchange"' EXIT
{
    for setting in "${@:2}"; do
        printf 'export %q\n' "$setting"
    done
    printf 'cd %q\n' "$PWD"
    cat "$1"
} >"$exchange/script.sh"

timeout --foreground -k 5 "$limit" qemu-system-x86_64 \
    -machine q35 -accel tcg,thread=multi -cpu max -smp "${HOCKET_GUEST_CPUS:-1}" -m 1024 \
    -kernel "$guest"/kernel/boot/vmlinuz-* -initrd "$guest/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable" \
    -nodefaults -no-user-config -no-reboot -display none -monitor none -serial stdio \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -virtfs local,path="$exchange",mount_tag=exchange,security_model=none </dev/null |
    sed -u 's/\r$//; /reboot: Power down/d' ||
    echo "QEMU failed, or the guest was not done in $limit s"
exit "$(cat "$exchange/status" 2>/dev/null || echo 125)"
