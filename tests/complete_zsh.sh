#!/usr/bin/env bash
# The completion in a real zsh, by its TAB.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
source tests/complete.bash
if ! command -v zsh >/dev/null; then
    echo "$suite: there is no zsh"
    exit 77
fi
open_place
mkdir "$work/functions" && "$hocket" help --complete zsh >"$work/functions/_hocket" || exit 1

# What is typed before TAB, a tab, and the arguments that hocket gets.
cat >"$work/cases" <<'CASES'
hocket be	<bench>
hocket --ver	<--version>
hocket run --back	<run><--backend>
hocket run --backend tc	<run><--backend><tcp>
hocket run --backend=tc	<run><--backend=tcp>
hocket run --backend mlx:r	<run><--backend><mlx:ring>
hocket run -n 4 --on-failure k	<run><-n><4><--on-failure><keep>
hocket run -n4 --tag	<run><-n4><--tag-output>
hocket run --stdin n	<run><--stdin><none>
hocket run --cwd fo	<run><--cwd><folder one>
hocket run --env A=b --cw	<run><--env><A=b><--cwd>
hocket run ./pr	<run><./prog>
hocket run -n 2 -- hocket bench all_to_all_	<run><-n><2><--><hocket><bench><all_to_all_v>
hocket run ./prog fil	<run><./prog><file two>
hocket bench all_gather bar	<bench><all_gather><barrier>
hocket bench all --tune pl	<bench><all><--tune><plain>
hocket bench --json --mem	<bench><--json><--memory>
hocket doctor --pro	<doctor><--promises>
hocket help --complete z	<help><--complete><zsh>
hocket help envi	<help><environment>
CASES

cat >"$work/rc" <<RC
PS1= PS2= HISTFILE=
unsetopt beep
fpath=('$work/functions' \$fpath)
autoload -U compinit
compinit -D -u
zstyle ':completion:*' insert-tab false
hocket() { { printf '<%s>' "\$@"; echo; } >>'$work/got'; }
RC
{
    echo "source '$work/rc'"
    keys <"$work/cases"
    echo exit
} >"$work/typed"
check_typed "zsh -f -i"
finish
