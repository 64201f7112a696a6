#!/usr/bin/env bash
# The manual and the sources agree: every environment variable that library or command read or set is in
# the one table (tools/hocket/variables.c), and the table has no others; every command has its page, with
# all its options.
set -uo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
hocket=${HOCKET_BUILD_DIR:-$PWD/build}/bin/hocket
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

faults=0
fault() {
    echo "manual: $*"
    faults=$((faults + 1))
}

table=tools/hocket/variables.c
sources=$(find src tools include -name '*.[ch]' -o -name '*.cpp' | grep -v "^$table$" | sort)

sed -n 's/^    {"\([A-Z_]\{4,\}\)",.*/\1/p' $table | sort >"$work/table"
[ "$(wc -l <"$work/table")" = "$("$hocket" help environment | grep -cE '^  [A-Z_]{4,}( |$)')" ] ||
    fault "help environment does not print each line of $table"
uniq -d "$work/table" | grep . && fault "these are in $table twice"

# A name that is code somewhere (a status, a macro) is none of a variable.
awk '
    function note(text, into,    name, rest) {
        while (match(text, /HOCKET_[A-Z0-9_]*[A-Z0-9]/)) {
            name = substr(text, RSTART, RLENGTH)
            rest = substr(text, RSTART + RLENGTH)
            if (rest !~ /^_/) into[name] = 1    # not HOCKET_ERR_*
            text = rest
        }
    }
    FNR == 1 { comment = 0 }
    {
        line = $0
        while (line != "") {
            if (comment) {
                end = index(line, "*/")
                note(end ? substr(line, 1, end) : line, spoken)
                line = end ? substr(line, end + 2) : ""
                comment = !end
            } else if (match(line, /"([^"\\]|\\.)*"|\x27([^\x27\\]|\\.)*\x27|\/\*|\/\//)) {
                found = substr(line, RSTART, RLENGTH)
                before = substr(line, 1, RSTART - 1)
                rest = substr(line, RSTART + RLENGTH)
                note(before, code)
                comment = found == "/*"
                note(found == "//" ? rest : found, spoken)
                line = found == "//" ? "" : rest
            } else {
                note(line, code)
                line = ""
            }
        }
    }
    END { for (name in spoken) if (!(name in code)) print name }
' $sources >"$work/hocket"

# Other names are those of whole strings, or what getenv and the table of launchers are given.
grep -hoE '"[A-Z]+(_[A-Z0-9]+)+"|([gs]etenv\(|\.(rank|size|host|port|hostfile) = )"[A-Z]+"' $sources |
    sed 's/"$//; s/.*"//' | grep -v '^HOCKET_' >"$work/other"

sort -u "$work/hocket" "$work/other" >"$work/sources"
for name in $(comm -23 "$work/sources" "$work/table"); do
    fault "$name is in the sources but not in $table"
done
for name in $(comm -13 "$work/sources" "$work/table"); do
    fault "$name is in $table but not in the sources"
done

"$hocket" help --write "$work/manual" || fault "help --write failed"
commands=$("$hocket" help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ -n "$commands" ] || fault "help lists no command"
for command in $commands; do
    page=$work/manual/man/man1/hocket-$command.1
    [ -s "$page" ] || { fault "there is no page for $command"; continue; }
    "$hocket" help --man "$command" | cmp -s - "$page" || fault "two pages for $command"
    for option in $("$hocket" help "$command" | sed -n 's/^  \(--*[a-z-]*\).*/\1/p'); do
        grep -qF -- "\\fB${option//-/\\-}\\fP" "$page" || fault "$option is not in $page"
        grep -qE -- "^        $command\\) echo '(.* )?$option( .*)?'" \
            "$work/manual/bash-completion/completions/hocket" || fault "bash lacks $command $option"
    done
done
for name in $(cat "$work/table"); do
    grep -qF "\\fB$name\\fP" "$work/manual/man/man7/hocket.7" || fault "$name is not in hocket(7)"
done
[ -s "$work/manual/man/man1/hocket.1" ] || fault "there is no hocket(1)"

touch "$work/file"
"$hocket" help --write "$work/file/below" 2>"$work/err" && fault "wrote below a file"
grep -q '^hocket help: .*/file/below/.* cannot be written: Not a directory\.$' "$work/err" ||
    fault "no sentence about that: $(cat "$work/err")"
if [ -w /dev/full ]; then
    mkdir -p "$work/full/man/man1" && ln -s /dev/full "$work/full/man/man1/hocket.1"
    "$hocket" help --write "$work/full" 2>"$work/err" && fault "wrote onto a full disk"
fi

echo "manual: $(wc -l <"$work/table") variables, $(wc -w <<<"$commands") commands, $faults faults"
[ "$faults" = 0 ]
