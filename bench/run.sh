#!/usr/bin/env bash
# Builds everything and compares Bulkhead with gpg and rpgp.
#   bench/run.sh                 all parts, in a few minutes
#   bench/run.sh --help          the options
# Needs gpg, and Python with pip and OpenSSL for some rows. Close other programs that use the processors.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked -p bulkhead -p bulkhead-tests -p bulkhead-bench
# The peer in the sandbox. Only the benchmark needs it, so that the ordinary build does without.
cargo rustc --lib --profile guest --target wasm32-wasip2 --package bulkhead-bench-rpgp \
  --crate-type cdylib --target-dir "$target/bench" --locked
# gunicorn, Flask and python-gnupg. Without them, their row is missing.
peers=$target/bench/gunicorn
if [ ! -d "$peers/gunicorn" ]; then
  python3 -m pip install --quiet --target "$peers" -r bench/gunicorn/requirements.txt ||
    echo "pip cannot install bench/gunicorn/requirements.txt: gunicorn is not measured" >&2
fi
exec "$target/release/bulkhead-bench" --gunicorn "$peers" \
  --rpgp-wasm "$target/bench/wasm32-wasip2/guest/bulkhead_bench_rpgp.wasm" "$@"
