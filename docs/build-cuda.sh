#!/usr/bin/env bash
# Builds the programs with the `cuda` feature and checks that they start on a machine without a GPU: `--device cuda:0`
# must end with a clear error and exit code 1, and the CPU must still work.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/cuda
cargo build --release --target-dir "$target" --features cuda -p trainer -p trackd
"$target/release/trainer" bench model --device cpu --preset tiny --batch 2 --seconds 1 --json
if "$target/release/trainer" bench model --device cuda:0 --preset tiny --batch 2 --seconds 1 --json 2> "$target/no-gpu.txt"; then
    echo "a CUDA device answered: the GPU path works here"
else
    code=$?
    cat "$target/no-gpu.txt"
    [ "$code" -eq 1 ] || { echo "expected exit code 1 without a GPU, found $code" >&2; exit 1; }
fi
ls -l "$target/release/trainer" "$target/release/trackd"
