#!/usr/bin/env bash
# The completion in a real bash, by its TAB.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source tests/complete.bash
suite=complete_bash
need_terminal
hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

"$hocket" help --complete bash >"$work/hocket.bash" || exit 1
mkdir "$work/place" && cd "$work/place" || exit 1
mkdir 'folder one' && touch plain 'file two' && printf '#!/bin/sh\n' >prog && chmod +x prog

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
touch "$work/got"
{
    echo "source '$work/rc'"
    cut -f1 "$work/cases" | sed $'s/$/\t/'
    echo '_command_offset() { COMPREPLY=("word$1"); }'
    cut -f1 <<<"$with_package" | sed $'s/$/\t/'
    echo exit
} >"$work/typed"
HISTFILE= terminal "bash --norc --noprofile -i" <"$work/typed" >"$work/screen" 2>&1
echo "$with_package" >>"$work/cases"
check "$work/got"
[ "$faults" = 0 ] || cat -v "$work/screen" | head -50
echo "complete_bash: $cases lines typed, $faults faults"
[ "$faults" = 0 ]
