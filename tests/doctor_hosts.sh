#!/usr/bin/env bash
# `hocket doctor --hosts` on names of this host, behind a real sshd.
source "$(dirname "$0")/begin.bash"
sanitize=${HOCKET_SANITIZE:-}
unset "${!HOCKET_@}"
source "$source/tests/sshd.bash"
serve_here

LIMIT=90       # seconds for any one doctor
GONE_TRIES=120 # 6 s for a process to go
LINES_TRIES=600
source "$source/tests/processes.bash"
two="--hosts 127.0.0.2,127.0.0.3"
doctor() {
    timeout $LIMIT "$hocket" doctor --ssh "ssh -F $work/ssh_config" "$@" >out 2>err </dev/null
    status=$?
}
# says WHAT REGEX: a line is like this.
says() {
    cases=$((cases + 1))
    grep -qE -- "^$2\$" out || { fault "$1: no line is like '$2'"; cat out err; }
}

host_line=" +$("$hocket" --version 2>/dev/null | sed 's/^hocket //') +[0-9]+ +[0-9.]+ GiB  [+-]0\.[0-9]{4} s \+- \
0\.[0-9]{4} +"
cell=' +([0-9.]+ / [0-9.]+)'
test_all_is_well() {
    doctor $two
    same "status" "$status $(cat err)" "0 "
    says "the first" "127\.0\.0\.2${host_line}127\.0\.0\.2"
    says "the second, where it dials from" "127\.0\.0\.3${host_line}127\.0\.0\.[0-9]+"
    says "a row" "127\.0\.0\.2 +-$cell"
    says "the other" "127\.0\.0\.3$cell +-"
    says "the end" "All is well\."
}

test_here_and_there() {
    doctor --hosts localhost,127.0.0.2,127.0.0.3,host-loud --hocket "$hocket"
    same "lines, one screen" "$(($(wc -l <out) <= 24))" 1
    says "four" "127\.0\.0\.2$cell$cell? +.*"
    doctor --hosts localhost
    same "one host" "$status $(tail -n 1 out)" "0 All is well."
    printf '[{"ssh": "host-a", "ips": ["127.0.0.5"]}, {"ssh": "host-b", "ips": ["127.0.0.6"]}]' >hostfile
    doctor --hostfile hostfile
    same "addresses of a hostfile" "$status $(grep -cE '127\.0\.0\.[56]$' out)" "0 2"
}

test_no_such_name() {
    doctor --hosts host-a,host-b # ssh alone knows these
    same "status" "$status" 1
    says "the first" "host-b cannot reach host-a at host-a: the name is not known there \(.+\)\."
}

test_ssh_fails() {
    doctor --hosts 127.0.0.2,no.such.host.invalid
    same "status" "$status" 1
    says "what ssh says" "no\.such\.host\.invalid: .*does not reach it: ssh: Could not resolve hostname .*"
    says "its row" "no\.such\.host\.inval.*of no use, see below"
    printf 'Host locked\n HostName 127.0.0.1\n IdentityFile /nowhere\n' | cat - ssh_config >locked
    ssh-keygen -q -t ed25519 -N '' -f other
    sed -i 's|IdentityFile .*/quiet|IdentityFile '"$work"'/other|' locked
    timeout $LIMIT "$hocket" doctor --ssh "ssh -F $work/locked" --hosts 127.0.0.2 >out 2>err
    same "status" "$?" 1
    says "no way in" "127\.0\.0\.2: .* does not reach it: .*Permission denied.*"
}

test_no_hocket() {
    doctor $two --hocket /no/such/hocket
    same "status" "$status" 1
    says "not there" "127\.0\.0\.3: no hocket answers there; --hocket .*status 127\): .*/no/such/hocket.*"
    printf '#!/bin/sh\nprintf "hocket agent: 9.9.9\\n"\nexec sleep 5\n' >newer
    chmod +x newer
    doctor --hosts 127.0.0.2 --hocket "$work/newer"
    same "status" "$status" 1
    says "another version" "127\.0\.0\.2: it has hocket 9\.9\.9, and this host has [0-9.]+: .*"
    printf '#!/bin/sh\nexit 3\n' >newer
    doctor --hosts 127.0.0.2 --hocket "$work/newer"
    says "no agent" "127\.0\.0\.2: no hocket answers there; --hocket .*status 3\)\."
    printf '#!/bin/sh\n"%s" agent & sleep 0.3; exit 4\n' "$hocket" >newer
    doctor --hosts 127.0.0.2 --hocket "$work/newer"
    same "an agent that is lost" "$status $(grep -c '^127.0.0.2: ' out)" "1 1"
}

# other_kind NAME=VALUE: what `--hocket` is given so that 127.0.0.4 is a host of that kind.
other_kind() {
    cc -shared -fPIC -o host.so "$source/tests/shims/host.c" -ldl || return 1
    cat >kind <<END
#!/bin/sh
case \$SSH_CONNECTION in *" 127.0.0.4 "*) export $1 LD_PRELOAD=$work/host.so ;; esac
exec "$hocket" agent
END
    chmod +x kind
}
can_preload() {
    [ "$(uname -s)" = Linux ] && [ -z "$sanitize" ] && command -v cc >/dev/null && return
    echo "doctor_hosts: skipped: no host of another kind here (Linux's LD_PRELOAD, no sanitizer, cc)"
    return 1
}

test_clocks() {
    can_preload || return 0
    other_kind AHEAD_S=5
    doctor $two,127.0.0.4 --hocket "$work/kind"
    same "status of a clock ahead" "$status" 1
    says "a clock ahead" "The clock of 127\.0\.0\.4 is [45]\.[0-9] s ahead of ours, give or take 0\.[0-9]{3} s\."
    other_kind AHEAD_S=-3600
    doctor $two,127.0.0.4 --hocket "$work/kind"
    says "a clock behind" "The clock of 127\.0\.0\.4 is 3(600\.0|599\.9) s behind ours, give or take 0\.[0-9]{3} s\."
    same "the others" "$(grep -c 'The clock of' out)" 1
    says "its row" "127\.0\.0\.4 .* -3(600\.0|599\.9)[0-9]* s \+- .*"
}

test_late() {
    can_preload || return 0
    other_kind NAP_MS=20
    doctor $two,127.0.0.5,127.0.0.4 --hocket "$work/kind" # most pairs must be well
    same "status" "$status" 1
    for pair in '2 to 4' '3 to 4' '5 to 4' '4 to 2' '4 to 3' '4 to 5'; do
        says "late" "127\.0\.0\.${pair% to *} to 127\.0\.0\.${pair#* to } answers late: after [2-9][0-9](\.[0-9])? ms where the others take [0-9.]+\."
    done
    same "no others to others" "$(grep 'answers late' out | grep -vc '127\.0\.0\.4')" 0
}

test_ipv6() {
    [ -s /proc/net/if_inet6 ] || { echo "doctor_hosts: skipped: there is no IPv6 here"; return 0; }
    printf '[{"ssh": "host-a", "ips": ["::1"]}, {"ssh": "host-b", "ips": ["::1"]}]' >six
    doctor --hostfile six
    same "status" "$status $(tail -n 1 out)" "0 All is well."
    same "addresses" "$(grep -cE '^host-[ab] .* ::1$' out)" 2
    printf '[{"ssh": "host-a", "ips": ["::1"]}, {"ssh": "host-b", "ips": ["2001:db8::1"]}]' >six
    doctor --hostfile six
    same "status of an address of nobody" "$status" 1
    says "an address of nobody" "host-a cannot reach host-b at 2001:db8::1: (Network is unreachable|No route to host|no answer within 3 s|Cannot assign requested address)\."
}

# A copy of the command has a name of its own, by which its processes are found. One host's agent never
# answers, so that doctor waits.
test_nothing_is_left() {
    local signal pids tries line
    mkdir -p bin lib
    cp "$hocket" bin/hocket-$$
    cp -P "$build"/lib/libhocket* lib/ 2>/dev/null
    line=$("$hocket" --version)
    cat >slow <<END
#!/bin/sh
case \$SSH_CONNECTION in *" 127.0.0.4 "*) echo "hocket agent: ${line#hocket }"; exec cat >/dev/null ;; esac
exec $work/bin/hocket-$$ agent
END
    chmod +x slow
    for signal in KILL TERM HUP; do
        "$hocket" doctor --ssh "ssh -F $work/ssh_config" --hosts 127.0.0.2,127.0.0.3,localhost,127.0.0.4 \
            --hocket "$work/slow" >out 2>err </dev/null &
        job=$!
        for tries in $(seq 300); do
            pids=$(pgrep -f "^$work/bin/hocket-$$ agent" | tr '\n' ' ')
            [ "$(echo $pids | wc -w)" -ge 6 ] && break # guards, agents and who listens
            sleep 0.02
        done
        pids+=" $(ps -o pid= --ppid $job | tr '\n' ' ')" # three of ssh and an agent
        same "$signal: there are agents" "$(echo $pids | wc -w)" 10
        kill -$signal $job
        await
        gone "$signal" $job $pids
        same "$signal: by name" "$(pgrep -f "^$work/bin/hocket-$$ agent" | wc -l)" 0
    done
}

run_tests "$@"
