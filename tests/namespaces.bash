# For tests whose hosts are network namespaces; sourced, not run. Takes from who sources it: name (of the
# namespaces, with a dash and a word), spaces (the words), work (a folder for what ranks print).

failures=0

skip()
{
    echo "skipped: $1"
    exit 77
}

clean_up()
{
    for pid in $(jobs -p); do
        kill -9 "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    for space in $spaces; do
        ip netns del "$name-$space" 2>/dev/null
    done
    rm -rf "$work"
}

fail()
{
    echo "FAILED: $1"
    cat "$work"/out.* 2>/dev/null
    failures=$((failures + 1))
}

[ "$(uname)" = Linux ] || skip "network namespaces are Linux's"
[ "$(id -u)" = 0 ] || skip "network namespaces need root"
command -v ip >/dev/null || skip "there is no ip command (iproute2)"
trap clean_up EXIT
ip netns add "$name-${spaces%% *}" 2>/dev/null || skip "ip netns does not work here"

# join_hosts NETWORK: each space after the first becomes a host, NETWORK.1 and its number, whose cable goes to a
# bridge in the first, where its other end is called port and that number.
join_hosts()
{
    local hub="$name-${spaces%% *}" i
    ip -n "$hub" link add bridge type bridge || return 1
    ip -n "$hub" link set bridge up
    for i in ${spaces#* }; do
        ip netns add "$name-$i" || return 1
        ip -n "$hub" link add "port$i" type veth peer name cable netns "$name-$i" || return 1
        ip -n "$hub" link set "port$i" master bridge
        ip -n "$hub" link set "port$i" up
        ip -n "$name-$i" address add "$1.1$i/24" dev cable
        ip -n "$name-$i" link set cable up
        ip -n "$name-$i" link set lo up
    done
}
