# Sourced by tests whose ranks compute with MLX. Ranks that compile the same kernel for the first time write
# it into the same file, and MLX loads what lies there, whole or not. So each has a folder of its own:
# sh -c "$OWN_KERNELS" FOLDER PROGRAM...
OWN_KERNELS='TMPDIR=$0/$HOCKET_RANK; export TMPDIR; mkdir -p "$TMPDIR" && exec "$@"'
