#!/usr/bin/env bash
# The measures of CONTRIBUTING.md: lengths, banned calls, leftovers.
set -euo pipefail
export LC_ALL=C    # awk counts bytes, whichever awk it is
cd "${HOCKET_SOURCE_DIR:-$(dirname "$0")/..}"

MAX_FUNCTION=70
MAX_COLUMNS=100
MAX_FILE=1000

# What may not be called below src/: calls without a bound, and what a library must leave to its user.
BANNED='strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|abort|exit|_exit|_Exit|quick_exit|assert'
BANNED+='|printf|vprintf|puts|putchar|perror|signal|sigaction|system|rand|srand|atoi|atol|atof'

# No name in the house has a blank, so these lists may be split at them.
sources=$(find include src tools examples tests bench \
          \( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' \) 2>/dev/null | sort || true)
library=$(grep -E '^(src|include)/' <<<"$sources")

report=$(
    awk -v columns=$MAX_COLUMNS -v length_of_file=$MAX_FILE -v length_of_function=$MAX_FUNCTION '
        function end_of_file() {
            if (file != "" && lines > length_of_file)
                printf "%s: %d lines (at most %d)\n", file, lines, length_of_file
        }
        FNR == 1 { end_of_file(); file = FILENAME; opened = 0; head = 0 }
        { lines = FNR }
        # Bytes of a multibyte character after its first are not columns of their own.
        { shown = $0; gsub(/[\200-\277]/, "", shown) }
        length(shown) > columns { printf "%s:%d: %d columns (at most %d)\n", file, FNR, length(shown), columns }
        /\t/ { printf "%s:%d: a tab\n", file, FNR }
        /[ \t]$/ { printf "%s:%d: blanks at the end of the line\n", file, FNR }
        /^[ \t]*#[ \t]*if[ \t]+0[ \t]*$/ { printf "%s:%d: #if 0\n", file, FNR }
        /(TODO|FIXME|HACK|(^|[^X])XXX([^X]|$))/ { printf "%s:%d: a leftover mark\n", file, FNR }
        # A function is what lies between a brace alone on its line and the brace at the same depth;
        # its head begins after the last line that ended something.
        !opened && /^ *\{$/ { opened = head ? head : FNR; indent = $0; sub(/\{.*/, "", indent); next }
        opened && $0 == indent "}" {
            if (FNR - opened + 1 > length_of_function)
                printf "%s:%d: a function of %d lines (at most %d)\n", file, opened,
                       FNR - opened + 1, length_of_function
            opened = 0; head = 0; next
        }
        !opened && /(^$|[;}{:]$|^ *\/\/|^ *\/?\*|\*\/$|^#)/ { head = 0; next }
        !opened && !head { head = FNR }
        END { end_of_file() }
    ' $sources

    # Comments and strings may speak of these; only calls count.
    awk -v banned="(^|[^A-Za-z0-9_.>])($BANNED)[ ]*\\\\(" '
        FNR == 1 { comment = 0 }
        {
            line = $0
            gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
            if (comment) {
                if (!sub(/^.*\*\//, "", line)) next
                comment = 0
            }
            gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
            sub(/\/\/.*/, "", line)
            if (sub(/\/\*.*/, "", line)) comment = 1
            # What stands in for MPI must end the process, and does so in one place.
            if (FILENAME == "src/mlx_mpi/end.c" && line ~ /^ *_exit\(HK_MLX_MPI_EXIT\);$/) next
            if (match(line, banned))
                printf "%s:%d: a banned call: %s\n", FILENAME, FNR, substr(line, RSTART, RLENGTH)
            if (line ~ /(^|[^A-Za-z0-9_])stdout([^A-Za-z0-9_]|$)/)
                printf "%s:%d: the library does not write to stdout\n", FILENAME, FNR
        }
    ' $library
)

if [ -n "$report" ]; then
    echo "$report"
    exit 1
fi
echo "tidy: $(wc -w <<<"$sources") files keep the measures"
