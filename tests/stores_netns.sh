#!/usr/bin/env bash
# mpirun over hosts with addresses of their own, and nothing told: network namespaces joined by veth to a
# bridge, each with a name and an sshd, by which mpirun of Open MPI and of MPICH starts its daemons. Ranks
# find rank 0 by the launcher's store. Everything is removed at the end.
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=${HOCKET_BUILD_DIR:-$source_dir/build}
world=$build/tests/programs/world
name="hm$$"
work="$(mktemp -d)"
spaces="hub 0 1 2"
source "$source_dir/tests/namespaces.bash"
source "$source_dir/tests/sshd.bash"
source "$source_dir/tests/mpis.bash"
[ -z "${HOCKET_SANITIZE:-}" ] || skip "MPI and PMIx are full of what sanitizers find"
[ -x "$world" ] || { echo "stores_netns: $world was not built"; exit 1; }
# What mpirun started by ssh ends with it, unless it was killed.
stop_sessions() {
    local i pid
    for i in 0 1 2; do
        for pid in $(ip netns pids "$name-$i" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null
        done
    done
}
trap 'stop_sshd; stop_sessions; clean_up' EXIT
unset "${!HOCKET_@}" "${!OMPI_@}" "${!PMI_@}" "${!PMIX_@}" "${!SLURM_@}"
command -v unshare >/dev/null || skip "there is no unshare (util-linux)"
join_hosts 10.79.0 || skip "veth and bridges do not work here"
# A name of its own makes it a host of its own, for hocket and for both MPIs.
named() {
    local space=$1
    shift
    ip netns exec "$name-$space" unshare -u sh -c 'hostname "$0" && exec "$@"' "host$space" "$@"
}
named 0 true || skip "hosts cannot have names of their own here"
make_keys
serve_spaces 10.79.0 1 2
printf '#!/bin/sh\nexec ssh -F %s "$@"\n' "$work/ssh_config" >"$work/ssh"
chmod +x "$work/ssh"
named 0 timeout 30 "$work/ssh" 10.79.0.11 true 2>/dev/null || skip "ssh does not get into its own sshd"

tried=0
# start LABEL COMMAND...: from host 0, two ranks on each of the others.
start() {
    local label=$1
    shift
    tried=$((tried + 1))
    named 0 timeout -s KILL 90 "$@" "$world" "$label" >"$work/out.0" 2>&1 </dev/null
    [ "$? $(grep -acE "^rank [0-3] of 4 over [a-z]+: $label" "$work/out.0")" = "0 4" ] || fail "$label"
}
if [ ${#openmpi[@]} -gt 0 ]; then
    start openmpi "${openmpi[@]}" --mca plm_rsh_agent "$work/ssh" --mca oob_tcp_if_include cable \
        --mca plm_rsh_no_tree_spawn 1 --host 10.79.0.11:2,10.79.0.12:2 -n 4
else
    echo "skipped: Open MPI's mpirun is not here"
fi
if [ ${#mpich[@]} -gt 0 ]; then
    start mpich "${mpich[@]}" -launcher ssh -launcher-exec "$work/ssh" -iface cable \
        -hosts 10.79.0.11:2,10.79.0.12:2 -n 4
else
    echo "skipped: MPICH's mpirun is not here"
fi
[ $tried -gt 0 ] || skip "no mpirun is here"
[ "$failures" = 0 ] && echo "ranks on two hosts met under $tried launchers"
[ "$failures" = 0 ]
