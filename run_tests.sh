#!/usr/bin/env bash
# Runs the tests.
#   ./run_tests.sh fast   formatting, import cycles, lints, unit tests: after every edit
#   ./run_tests.sh        also documentation, sandbox, simulation, stores and black-box tests: before every commit,
#                         and in the pipeline
#   ./run_tests.sh soak   also the plain wasmtime command, the sanitizer and the fuzzer, with larger counts everywhere
# Everything is built in one profile (release), so that the tests run the code that is served. Tests that need a
# missing program are skipped if tests/allowed-skips permits it.
set -euo pipefail
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
# rust-toolchain.toml pins the toolchain; its lint tools may not be installed yet.
for tool in rustfmt clippy; do
  case $tool in rustfmt) probe="cargo fmt --version" ;; clippy) probe="cargo clippy --version" ;; esac
  $probe >/dev/null 2>&1 || rustup component add "$tool"
done
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
mkdir -p "$target"
: >"$target/test-times"

step() { printf '\n== %4d s  %s\n' "$SECONDS" "$*"; }

export ALLOWED_SKIPS=$PWD/tests/allowed-skips
. tests/skips.sh

# skip_tests NEED TEXT: skips every test with that text in its name.
skips=()
skip_tests() {
  skip "$1" "tests with \"$2\" in their names"
  skips+=("$2")
}

# run_tests GROUP OPTIONS…: runs the tests of the targets that these options of `cargo test` select. GROUP is `relay`
# for the black-box tests of the relay, which wait more than they compute, so that eight run at a time, and `others` for
# all others. Ignored tests, which need other programs, run unless the tier is fast.
run_tests() {
  local filter='not test(/^relay::/)' names=(--skip=relay::) threads ignored=() text profile=default
  # Many of these tests wait for a process or a time-out.
  threads=$((2 * $(nproc)))
  if [ "$1" = relay ]; then
    filter='test(/^relay::/)' names=(relay::) threads=8
  fi
  shift
  if cargo nextest --version >/dev/null 2>&1; then
    [ "$tier" = fast ] || ignored=(--run-ignored all)
    [ "$tier" != soak ] || profile=soak
    for text in "${skips[@]}"; do filter="$filter and not test($text)"; done
    cargo nextest run --profile "$profile" --release --locked "$@" "${ignored[@]}" --test-threads "$threads" -E "$filter"
    sed -n 's/.*<testcase name="\([^"]*\)" classname="\([^"]*\)".* time="\([0-9.]*\)".*/\3 s  \2 \1/p' \
      "$target/nextest/$profile/junit.xml" >>"$target/test-times"
  else
    [ "$tier" = fast ] || ignored=(--include-ignored)
    # Cargo starts the tests with this command. The variable makes stable compilers report the tests' times.
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env RUSTC_BOOTSTRAP=1" \
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="env RUSTC_BOOTSTRAP=1" \
      cargo test --release --locked "$@" -- --test-threads "$threads" -Zunstable-options --report-time \
      "${ignored[@]}" "${names[@]}" "${skips[@]/#/--skip=}" | tee "$target/test-output"
    sed -n 's/^test \(.*\) \.\.\. ok <\([0-9.]*\)s>$/\2 s  \1/p' "$target/test-output" >>"$target/test-times"
  fi
}
list_slowest() {
  echo "the ten slowest tests:"
  sort -rn "$target/test-times" | sed -n '1,10s/^/  /p'
}

# python_packages FOLDER MODULES REQUIREMENTS…: installs packages of PyPI there, unless the modules can be imported.
python_packages() {
  local folder=$1 modules=$2
  shift 2
  PYTHONPATH=$folder python3 -c "import $modules" 2>/dev/null ||
    python3 -m pip install --quiet --upgrade --target "$folder" "$@" 2>/dev/null
}

step "formatting"
cargo fmt --all --check

step "import cycles"
if command -v python3 >/dev/null; then
  tests/module_cycles.py --self-test
  tests/module_cycles.py
else
  skip "needs Python" tests/module_cycles.py
fi

step "reasons of ignored tests"
grep -rhoP --include='*.rs' '\bignore = "\K[^":]*' crypto envelope guest host tests | sort -u | while read -r need; do
  skip_allowed image "$need" || {
    echo "FAILED: a test is ignored because it $need, and tests/allowed-skips has no line \"image: $need\"" >&2
    exit 1
  }
done

# Dependencies are compiled once, for the lints and for what runs. Results of this build are not for use.
lints() {
  RUSTC_WORKSPACE_WRAPPER=$PWD/tests/lint.sh CARGO_BUILD_BUILD_DIR=$target CARGO_TARGET_DIR=$target/lint \
    cargo build --release --all-targets --locked
}

if [ "$tier" = fast ]; then
  step "lints and documentation (the first build takes minutes)"
  lints
  step "unit tests"
  run_tests others --lib --bins
  list_slowest
  step "fast tier passed; sandbox, simulation, store and black-box tests were not run"
  exit 0
fi

# pip installs packages while cargo builds. The version of schemathesis is fixed, because new versions check more.
export PYTHONPATH=$target/python BULKHEAD_TEST_SCHEMATHESIS=$target/schemathesis
python_packages "$PYTHONPATH" prometheus_client,standardwebhooks \
  prometheus_client==0.26.0 standardwebhooks==1.1.0 &
python=$!
python_packages "$BULKHEAD_TEST_SCHEMATHESIS" schemathesis schemathesis==4.32.5 &
schemathesis=$!

step "build (the first one takes minutes)"
cargo build --release --all-targets --locked

step "lints and documentation"
lints

step "programs that the tests need"
for program in openssl sqlite3 promtool; do
  command -v "$program" >/dev/null || skip_tests "needs $program" "$program"
done
command -v curl >/dev/null || skip_tests "needs curl" clients::curl
wait "$python" || skip_tests "needs Python" python
wait "$schemathesis" || skip_tests "needs schemathesis" schemathesis
if BULKHEAD_TEST_NODE=$(command -v npm >/dev/null &&
  tests/node.sh "$target/node" "$target/release/bulkhead" 2>"$target/node.log"); then
  export BULKHEAD_TEST_NODE
else
  echo "npm is missing or cannot install the packages of the examples: $target/node.log"
  skip_tests "needs Node.js" node
fi
if BULKHEAD_TEST_CHROMIUM=$(tests/chromium.sh); then
  export BULKHEAD_TEST_CHROMIUM
else
  skip_tests "needs Chromium" chromium
fi
# Compiling the wasmtime command takes minutes.
install=""
if [ "$tier" = soak ]; then
  export BULKHEAD_TEST_SOAK=1
  install=--install
fi
if BULKHEAD_TEST_WASMTIME=$(tests/wasmtime.sh "$target/wasmtime" $install); then
  export BULKHEAD_TEST_WASMTIME
else
  echo "./run_tests.sh soak installs the wasmtime command"
  skip_tests "needs the wasmtime command" offline::
fi
# A PostgreSQL server for these tests alone. It does not wait for the disk, because no test cuts the power.
postgres=$target/test-postgres
FSYNC=off tests/postgres.sh start "$postgres" >/dev/null
trap 'tests/postgres.sh stop "$postgres"' EXIT
BULKHEAD_TEST_POSTGRES=$(cat "$postgres/url")
export BULKHEAD_TEST_POSTGRES
# Every server logs at trace level, and the harness records every secret that it sends or receives.
logs=$target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
export BULKHEAD_TEST_LOGS=$logs

step "tests"
run_tests others --lib --bins --tests
run_tests relay --test blackbox
list_slowest

if [ "$tier" = soak ]; then
  step "unsafe code under Miri, the address sanitizer and the fuzzer"
  tests/unsafe.sh 300
fi

step "no secret in any log of these tests"
tests/search_logs.sh "$logs"

step "licences and sources of dependencies"
if command -v cargo-deny >/dev/null; then
  cargo deny check licenses bans sources
else
  echo "to install it: cargo install cargo-deny"
  skip "needs cargo-deny" "licences and sources of dependencies"
fi
step "$tier tier passed"
