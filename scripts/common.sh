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

MLX_VERSION=0.32.4
MLX_PYTHON=.deps/mlx-python    # MLX and mlx-lm as Python's users have them; deps.sh gets them

# unpack_wheels WHAT FOLDER PIP-ARGUMENT...: wheels as they are, without what they ask for besides. A stamp
# says WHAT lies there, so that a second call does nothing and other wheels replace the old ones whole.
unpack_wheels() {
    local what=$1 folder=$2 python
    shift 2
    if [ "$(cat "$folder/.wheel" 2>/dev/null)" = "$what" ]; then
        return 0
    fi
    python=$(find_python) || {
        echo "$what needs Python 3.10 or newer with pip" >&2
        return 1
    }
    echo "deps: unpacking $what into $folder" >&2
    rm -rf "$folder.new"
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        "$python" -m pip install -q --no-deps --no-compile --only-binary=:all: --target "$folder.new" "$@" &&
        echo "$what" >"$folder.new/.wheel" && rm -rf "$folder" && mv "$folder.new" "$folder"
}

# install_wheel REQUIREMENT FOLDER [pip options]
install_wheel() {
    local requirement=$1 folder=$2
    shift 2
    unpack_wheels "$requirement" "$folder" "$@" "$requirement"
}

# install_mlx_python: into $MLX_PYTHON, for the Python that find_python finds; another gets others.
install_mlx_python() {
    local list=scripts/mlx_python.txt python version
    python=$(find_python) || return 1
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    unpack_wheels "mlx and mlx-lm for Python $version ($(cksum <$list))" $MLX_PYTHON -r $list
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
