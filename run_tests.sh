#!/usr/bin/env bash
# Runs the tests.
#   ./run_tests.sh fast   formatting, lints, unit tests
#   ./run_tests.sh        these, documentation, sandbox, simulation, PostgreSQL and black-box tests (what
#                         the pipeline runs)
#   ./run_tests.sh soak   these with more messages, seeds and kills
# Everything is built in one profile (release), so that what is tested is what is served.
set -eu
cd "$(dirname "$0")"
tier=${1:-default}
case $tier in
  fast | default | soak) ;;
  *) sed -n '2,7p' "$0" | cut -c3-; exit 2 ;;
esac

command -v cargo >/dev/null || {
  echo "cargo is missing: install rustup, see https://rustup.rs" >&2
  exit 1
}
# The toolchain is pinned by rust-toolchain.toml; its lint tools may not be installed yet.
for tool in rustfmt clippy; do
  case $tool in rustfmt) probe="cargo fmt --version" ;; clippy) probe="cargo clippy --version" ;; esac
  $probe >/dev/null 2>&1 || rustup component add "$tool"
done

step() { printf '\n== %s\n' "$*"; }

step "formatting"
cargo fmt --all --check

step "build (the first one takes minutes)"
cargo build --release --workspace --all-targets --locked

step "lints"
cargo clippy --release --workspace --all-targets --locked -- -D warnings

step "unit tests"
cargo test --release --workspace --lib --bins --locked

if [ "$tier" = fast ]; then
  echo "fast tier passed; sandbox, simulation, PostgreSQL and black-box tests were not run"
  exit 0
fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --document-private-items --locked

step "sandbox, simulation and black-box tests"
if [ "$tier" = soak ]; then
  export BULKHEAD_TEST_SOAK=1
fi
# Some tests compare with other programs. They are ignored by default; here all are run whose
# program is there or can be had.
with=(--include-ignored)
if ! command -v openssl >/dev/null; then
  with+=(--skip openssl)
  echo "openssl is missing: what is compared with it is skipped"
fi
if ! command -v curl >/dev/null; then
  with+=(--skip clients::curl)
  echo "curl is missing: the client that needs it is skipped"
fi
if ! command -v sqlite3 >/dev/null; then
  with+=(--skip sqlite3)
  echo "sqlite3 is missing: a backup with it is not tried"
fi
if ! command -v promtool >/dev/null; then
  with+=(--skip promtool)
  echo "promtool is missing: alerts are not tried with it"
fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
python=$target/python
if ! PYTHONPATH=$python python3 -c 'import prometheus_client, standardwebhooks' 2>/dev/null; then
  python3 -m pip install --quiet --upgrade --target "$python" prometheus_client==0.26.0 standardwebhooks==1.1.0 2>/dev/null || {
    with+=(--skip python)
    echo "python3 with prometheus_client and standardwebhooks is missing: what takes them is skipped"
  }
fi
export PYTHONPATH=$python
# One version, since each new one looks for more.
export BULKHEAD_TEST_SCHEMATHESIS=$target/schemathesis
if ! PYTHONPATH=$BULKHEAD_TEST_SCHEMATHESIS python3 -c 'import schemathesis' 2>/dev/null; then
  python3 -m pip install --quiet --target "$BULKHEAD_TEST_SCHEMATHESIS" schemathesis==4.32.5 2>/dev/null || {
    with+=(--skip schemathesis)
    echo "schemathesis is missing: it is not run against the server"
  }
fi
if ! BULKHEAD_TEST_NODE=$(command -v npm >/dev/null &&
  tests/node.sh "$target/node" "$target/release/bulkhead" 2>"$target/node.log"); then
  with+=(--skip node)
  echo "Node.js is missing, or npm cannot install what the examples need (target/node.log): they are skipped"
fi
export BULKHEAD_TEST_NODE
BULKHEAD_TEST_WASMTIME=$(tests/wasmtime.sh "$target/wasmtime")
export BULKHEAD_TEST_WASMTIME
# A server of our own. Without the wait for the disk: what survives a loss of power is not tried here.
postgres=$target/test-postgres
FSYNC=off tests/postgres.sh start "$postgres" >/dev/null
trap 'tests/postgres.sh stop "$postgres"' EXIT
BULKHEAD_TEST_POSTGRES=$(cat "$postgres/url")
export BULKHEAD_TEST_POSTGRES
# Every server logs all it can, and the harness takes down every secret it sends or gets.
logs=$target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
export BULKHEAD_TEST_LOGS=$logs
cargo test --release --workspace --test isolation --test simulation --test blackbox --locked -- \
  "${with[@]}" --skip relay::
# These wait more than they work.
cargo test --release --workspace --test blackbox --locked -- --include-ignored --test-threads 8 relay::

step "the store in PostgreSQL"
cargo test --release --workspace --lib --locked -- --ignored postgres

if [ "$tier" = soak ]; then
  step "unsafe code under instruments"
  tests/unsafe.sh 300
fi

step "no secret in any log of these tests"
tests/search_logs.sh "$logs"

step "licences and sources of dependencies"
if command -v cargo-deny >/dev/null; then
  cargo deny check licenses bans sources
else
  echo "not checked: cargo-deny is not installed (cargo install cargo-deny)"
fi
printf '\n%s tier passed\n' "$tier"
