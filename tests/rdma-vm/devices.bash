# Soft-RoCE devices for the guest's scripts; sourced there, not run.
#
# Device rdma<i> has the address 10.88.0.<i> on a veth end `wire<i>`; a bridge joins the other ends. All lie
# in the first namespace, as the kernel's rxe knows no other, so the kernel has to be told to let
# packets between two of its own addresses go by the wire.

DEVICE_SECONDS=20    # for the GID of a device to appear

# What would make the kernel answer, or route, for one end in the name of another.
keep_ends_apart()
{
    local folder
    for folder in all "$@"; do
        folder=/proc/sys/net/ipv4/conf/$folder
        echo 1 >"$folder/accept_local"
        echo 0 >"$folder/rp_filter"
        echo 1 >"$folder/arp_ignore"
        echo 2 >"$folder/arp_announce"
    done
}

# make_devices COUNT: rdma1 to rdma<COUNT>, ready for use.
make_devices()
{
    local i
    ip link add wires type bridge || return 1
    ip link set wires mtu 5000 up
    for ((i = 1; i <= $1; i++)); do
        ip link add "wire$i" mtu 5000 type veth peer name "port$i" mtu 5000 || return 1
        keep_ends_apart "wire$i"
        ip link set "port$i" master wires up
        ip address add "10.88.0.$i/24" dev "wire$i"
        ip link set "wire$i" up
        make_device "$i" || return 1
    done
}

# make_device I: the device alone, on an end that is there; waits for its addresses.
make_device()
{
    local types=/sys/class/infiniband/rdma$1/ports/1/gid_attrs/types tries
    rdma link add "rdma$1" type rxe netdev "wire$1" || return 1
    for ((tries = 0; tries < DEVICE_SECONDS * 10; tries++)); do
        [ "$(cat "$types/1" 2>/dev/null)" = "RoCE v2" ] && return 0
        sleep 0.1
    done
    echo "rdma$1 has no GID of its IPv4 address after $DEVICE_SECONDS s"
    return 1
}

# only_device NAME COMMAND...: as on a host that has that device alone, or none when it is not there: no
# other's file is in /dev/infiniband.
only_device()
{
    local name=$1 file node= number=
    shift
    for file in /sys/class/infiniband_verbs/uverbs*; do
        [ "$(cat "$file/ibdev" 2>/dev/null)" != "$name" ] ||
            { node=$(basename "$file") && number=$(cat "$file/dev"); }
    done
    unshare -m bash -c '
        mount -t tmpfs none /dev/infiniband || exit 1
        [ -z "$1" ] || mknod "/dev/infiniband/$1" c "${2%:*}" "${2#*:}" || exit 1
        shift 2
        exec "$@"
    ' only_device "$node" "$number" "$@"
}
