#!/usr/bin/env bash
# Includes point down the order of rooms, C++ stays in src/mlx and in the headers of hocket/mlx.hpp, and
# public headers stand alone.
# The order is the one of docs/house.md; libhocket-mlx is loaded by libhocket, so it lies above graph.
set -euo pipefail
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"

ORDER="core wire transport collective group graph mlx mlx_mpi mlx_blas tools examples"

faults=0
fault() {
    echo "layers: $*"
    faults=$((faults + 1))
}

# The room that a path or an include belongs to.
room_of() {
    local path=${1#src/}
    echo "${path%%/*}"
}

height_of() {
    local height=0 room
    for room in $ORDER; do
        if [ "$room" = "$1" ]; then
            echo "$height"
            return
        fi
        height=$((height + 1))
    done
    echo -1
}

# FILE:LINE:#include "WHAT"
while IFS=: read -r file line text; do
    what=$(sed 's/.*"\(.*\)".*/\1/' <<<"$text")
    own=$(room_of "$file")
    if [ "$own" = include ]; then
        fault "$file:$line: a public header includes \"$what\" from the inside"
        continue
    fi
    # A name without a folder lies beside the file; src/ wants even those from its root.
    if [[ $what != */* ]]; then
        [[ $file == src/* ]] && fault "$file:$line: write \"$own/$what\", from src/"
        continue
    fi
    other=$(room_of "$what")
    # What MLX loads as its MPI is a user of libhocket like any other.
    if [ "$own" = mlx_mpi ]; then
        [ "$other" = mlx_mpi ] || fault "$file:$line: \"$what\" is not public"
        continue
    fi
    # The command has rooms of its own, and writes their names from its root.
    [ "$own" = tools ] && [ -e "tools/hocket/$what" ] && continue
    if [ "$(height_of "$other")" -lt 0 ]; then
        fault "$file:$line: \"$what\" is in no room that is known"
    elif [ "$own" = examples ]; then
        fault "$file:$line: an example uses \"$what\", which is not public"
    elif [ "$(height_of "$other")" -gt "$(height_of "$own")" ]; then
        fault "$file:$line: $own must not know $other (\"$what\")"
    fi
done < <(grep -rnE --include='*.[ch]' --include='*.cpp' --include='*.hpp' \
         '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' include src tools examples 2>/dev/null || true)

for room in src/*/; do
    room=$(room_of "$room")
    [ "$(height_of "$room")" -ge 0 ] || fault "src/$room is not in the order of rooms"
done

while read -r file; do
    fault "$file: C++ belongs into src/mlx or include/hocket/mlx"
done < <(find src include tools examples -not -path 'src/mlx/*' -not -path 'include/hocket/mlx/*.hpp' \
         -not -path include/hocket/mlx.hpp \
         \( -name '*.cpp' -o -name '*.cc' -o -name '*.cxx' -o -name '*.hpp' \) 2>/dev/null)

# MLX's headers may be seen by these alone, and these by the shim alone.
while IFS=: read -r file line _; do
    fault "$file:$line: MLX's headers belong into src/mlx or hocket/mlx.hpp"
done < <(grep -rnE '#[[:space:]]*include[[:space:]]+<(mlx/|hocket/mlx.*\.hpp>)' include src tools \
         examples 2>/dev/null | grep -vE '^(src/mlx/|include/hocket/mlx(/[a-z]*)?\.hpp:)' || true)

[ "$faults" = 0 ] || exit 1
echo "layers: every include points down"
