# For tests whose hosts are behind ssh; sourced, not run. Takes from who sources it: work (a folder of its
# own). Gives start_sshd ADDRESS..., a real sshd with keys and a configuration of its own, as the user who
# runs the test, and $work/ssh_config, by which ssh reaches it under any name host-*. Skips where there is
# none.

skip() { echo "skipped: $1"; exit 77; }

sshd=$(command -v sshd || echo /usr/sbin/sshd)
[ -x "$sshd" ] || skip "there is no sshd (openssh-server)"
for program in ssh ssh-keygen timeout; do
    command -v $program >/dev/null || skip "there is no $program"
done
sshd_pids=()

stop_sshd() {
    local pid
    for pid in ${sshd_pids[@]+"${sshd_pids[@]}"}; do
        kill -TERM "$pid" 2>/dev/null
    done
    sshd_pids=()
}

# The second key belongs to a login that talks before it does what it is told.
make_keys() {
    local key
    for key in host quiet loud; do
        ssh-keygen -q -t ed25519 -N '' -f "$work/$key" || skip "ssh-keygen makes no key"
    done
    cp "$work/quiet.pub" "$work/authorized"
    {
        printf 'command="printf \\"Welcome!\\\\nhocket agent is not here\\\\n\\\\303\\"; echo loud >&2; '
        printf 'eval \\"$SSH_ORIGINAL_COMMAND\\"" '
        cat "$work/loud.pub"
    } >>"$work/authorized"
    printf 'Whoever you are:\nhocket agent: 0\n' >"$work/banner"
}

# start_sshd ADDRESS COMMAND...: COMMAND runs sshd, as "ip netns exec NAME" does. The port is in $port.
start_sshd() {
    local address=$1 tries try
    shift
    [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
    for try in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 12000))
        cat >"$work/sshd_config" <<END
Port $port
ListenAddress $address
HostKey $work/host
PidFile none
AuthorizedKeysFile $work/authorized
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Banner $work/banner
ClientAliveInterval 0
END
        rm -f "$work/sshd.log" # of the one before
        "$@" "$sshd" -D -e -f "$work/sshd_config" 2>"$work/sshd.log" &
        local pid=$!
        for tries in $(seq 100); do
            if grep -q '^Server listening' "$work/sshd.log" 2>/dev/null; then
                sshd_pids+=("$pid")
                return 0
            fi
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null
    done
    skip "sshd does not start: $(tail -n 1 "$work/sshd.log")"
}

write_ssh_config() {
    cat >"$work/ssh_config" <<END
Host host-*
    HostName 127.0.0.1
Host host-loud
    IdentityFile $work/loud
Host *
    Port $port
    IdentityFile $work/quiet
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
END
}

# serve_spaces NETWORK NUMBER...: an sshd in each of these hosts of join_hosts (namespaces.bash), by whose
# address $work/ssh_config reaches it.
serve_spaces() {
    local network=$1 i
    shift
    for i; do
        start_sshd "$network.1$i" ip netns exec "$name-$i"
        printf 'Host %s.1%s\n    Port %s\n' "$network" "$i" "$port" >>"$work/ssh_config"
    done
    cat >>"$work/ssh_config" <<END
Host *
    IdentityFile $work/quiet
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
END
}

# serve_here: an sshd on every address of this host, and what reaches it; the tests of begin.bash.
serve_here() {
    trap 'stop_sshd; rm -rf "$work"' EXIT
    make_keys
    start_sshd 0.0.0.0
    write_ssh_config
    timeout 30 ssh -F "$work/ssh_config" host-a true 2>/dev/null || skip "ssh does not get into its own sshd"
}
