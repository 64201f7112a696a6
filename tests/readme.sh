#!/usr/bin/env bash
# The README's program is examples/hello.c without its first comment, and what the documents point to exists.
set -euo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"

faults=0
fault() {
    echo "readme: $*"
    faults=$((faults + 1))
}

# The lines of the first block of C in FILE.
first_program() { sed -n '/^```c$/,/^```$/p; /^```$/q' "$1" | sed '/^```/d'; }
diff <(first_program README.md) <(sed '1{/^\/\*/d;}' examples/hello.c) || fault "the program differs from examples/hello.c"

links=0
for document in *.md docs/*.md; do
    while read -r link; do
        links=$((links + 1))
        [ -e "$(dirname "$document")/$link" ] || fault "$document points to $link, which is not there"
    done < <(grep -oE '\]\([^)#]+\)' "$document" | sed 's/^](//; s/)$//' | grep -v '://' || true)
done

# Targets of make that the README names.
while read -r target; do
    grep -qE "^([a-z -]* )?$target( [a-z -]*)?:" Makefile || fault "make $target is not in the Makefile"
done < <(grep -oE '(^|`| )make [a-z][a-z-]*' README.md CONTRIBUTING.md -h | awk '{print $2}' | sort -u |
         grep -vE '^(alone)$')

[ "$faults" = 0 ] || exit 1
echo "readme: the program and $links links are true"
