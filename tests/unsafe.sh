#!/usr/bin/env bash
# Runs the unsafe code under Miri, the address sanitizer and a fuzzer. All of them need a nightly toolchain.
#   tests/unsafe.sh [SECONDS]   the fuzzer's running time [60]
set -eu
cd "$(dirname "$0")/.."
export ALLOWED_SKIPS=$PWD/tests/allowed-skips
. tests/skips.sh
seconds=${1:-60}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/unsafe
host=$(rustc -vV | sed -n 's/^host: //p')
# This script installs nothing: an installation needs a network and the developer's consent.
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "to install it: rustup toolchain install nightly"
  skip "needs a nightly toolchain" "Miri, the address sanitizer, the fuzzer"
  exit 0
fi
# Only the rounds on arrays: Miri supports neither our threads nor vector instructions.
if cargo +nightly miri --version >/dev/null 2>&1; then
  CARGO_TARGET_DIR=$target/miri cargo +nightly miri test --package bulkhead-kdf --lib -- table::
else
  echo "to install it: rustup component add miri --toolchain nightly"
  skip "needs Miri" Miri
fi
# The explicit target keeps the sanitizer out of build scripts and macros.
RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=$target/address \
  cargo +nightly test --release --target "$host" --package bulkhead-kdf --lib
echo "the address sanitizer found nothing"
if cargo +nightly fuzz --version >/dev/null 2>&1; then
  # An input has one byte, and seven bytes for each of up to 24 derivations.
  cd host/kdf
  CARGO_TARGET_DIR=$target/fuzz cargo +nightly fuzz run side_by_side -- \
    -max_total_time="$seconds" -max_len=169 -len_control=0 -print_final_stats=1
else
  echo "to install it: cargo install cargo-fuzz"
  skip "needs cargo-fuzz" "the fuzzer"
fi
