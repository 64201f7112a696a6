#!/usr/bin/env bash
# The completion in a real bash, by its TAB.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source tests/complete.bash
open_place
"$hocket" help --complete bash >"$work/hocket.bash" || exit 1

# What is typed before TAB, a tab, and the arguments that hocket gets.
cat >"$work/cases" <<'CASES'
hocket be	<bench>
hocket --	<--help><--version>
hocket run --back	<run><--backend>
hocket run --backend tc	<run><--backend><tcp>
hocket run --backend=tc	<run><--backend=tcp>
hocket run --backend mlx:r	<run><--backend><mlx:ring>
hocket run --backend=mlx:ri	<run><--backend=mlx:ring>
hocket run -n 4 --on-failure 	<run><-n><4><--on-failure><keep><stop>
hocket run -n4 --tag	<run><-n4><--tag-output>
hocket run --stdin 	<run><--stdin><all><none>
hocket run --cwd fo	<run><--cwd><folder one>
hocket run --env A=b --cw	<run><--env><A=b><--cwd>
hocket run ./pr	<run><./prog>
hocket run -- ./prog --back	<run><--><./prog><--back>
hocket run -n 2 -- hocket bench all_r	<run><-n><2><--><hocket><bench><all_reduce>
hocket run -n 2 hocket bench --dtype=bf	<run><-n><2><hocket><bench><--dtype=bf16>
hocket run ./prog fil	<run><./prog><file two>
hocket bench all_reduce bar	<bench><all_reduce><barrier>
hocket bench all --tune pl	<bench><all><--tune><plain>
hocket bench --json --mem	<bench><--json><--memory>
hocket doctor --pro	<doctor><--promises>
hocket help --complete z	<help><--complete><zsh>
hocket help envi	<help><environment>
hocket nonsense --x	<nonsense><--x>
CASES
# Where the package bash-completion is, its _command_offset completes other programs; it wants to know
# which of bash's own words the program is.
with_package=$'hocket run -n 2 --env=A=b:c -- ./prog x\t<run><-n><2><--env=A=b:c><--><./prog><word12>'

cat >"$work/rc" <<RC
PS1= PS2=
bind '"\t": insert-completions'
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
source '$work/hocket.bash'
hocket() { { printf '<%s>' "\$@"; echo; } >>'$work/got'; }
RC
{
    echo "source '$work/rc'"
    keys <"$work/cases"
    echo '_command_offset() { COMPREPLY=("word$1"); }'
    keys <<<"$with_package"
    echo exit
} >"$work/typed"
echo "$with_package" >>"$work/cases"
HISTFILE= check_typed "bash --norc --noprofile -i"
finish
