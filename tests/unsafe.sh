#!/usr/bin/env bash
# The unsafe code under instruments: Miri, the address sanitizer, a fuzzer. All of them want a nightly
# toolchain; what is missing is said and left out.
#   tests/unsafe.sh [SECONDS]   so long the fuzzer runs [60]
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/unsafe
host=$(rustc -vV | sed -n 's/^host: //p')
# Of the toolchain's files nothing is installed here: that takes a network and is the reader's choice.
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "not run: there is no nightly toolchain (rustup toolchain install nightly)"
  exit 0
fi
# Without threads of our own and without vectors, which Miri does not know: the rounds in arrays.
if cargo +nightly miri --version >/dev/null 2>&1; then
  CARGO_TARGET_DIR=$target/miri cargo +nightly miri test --package bulkhead-kdf --lib -- table::
else
  echo "not run: Miri is not installed (rustup component add miri --toolchain nightly)"
fi
# For the host by name, so that build scripts and macros are built without it.
RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=$target/address \
  cargo +nightly test --release --target "$host" --package bulkhead-kdf --lib
echo "the address sanitizer found nothing"
if cargo +nightly fuzz --version >/dev/null 2>&1; then
  # An octet, and seven for each of 24 derivations.
  cd host/kdf
  CARGO_TARGET_DIR=$target/fuzz cargo +nightly fuzz run side_by_side -- \
    -max_total_time="$seconds" -max_len=169 -len_control=0 -print_final_stats=1
else
  echo "not run: cargo-fuzz is not installed (cargo install cargo-fuzz)"
fi
