#!/bin/sh
# Runs the prebuilt tests inside the image: no network, no toolchain, no writable root needed.
# Each test is listed with its result; the exit status tells whether all passed.
set -u
export BULKHEAD_BIN=/usr/local/bin/bulkhead BULKHEAD_FIXTURES=/opt/bulkhead/fixtures
export BULKHEAD_MOCKS=/opt/bulkhead/mocks BULKHEAD_WIT=/opt/bulkhead/wit
# The server under test listens, and stores, where the test says, not where this image does.
unset BULKHEAD_LISTEN BULKHEAD_STORE
# The tests write files and more than 64 MB of logs, which is all that Docker's shared memory has room for.
# With a read-only root there is still the volume.
unset TMPDIR
for folder in /tmp /data /dev/shm; do
  if [ -w "$folder" ]; then
    TMPDIR=$(mktemp -d -p "$folder")
    export TMPDIR
    break
  fi
done
[ -n "${TMPDIR-}" ] || { echo "there is no folder to write to: /tmp, /data, /dev/shm" >&2; exit 1; }
trap 'rm -rf "$TMPDIR"' EXIT
logs=$(mktemp -d)
export BULKHEAD_TEST_LOGS="$logs"
failed=""
for suite in /opt/bulkhead/tests/*; do
  printf '\n== %s\n' "$(basename "$suite")"
  "$suite" "$@" || failed="$failed $(basename "$suite")"
done
printf '\n== no secret in any log of these tests\n'
# Arguments may have chosen tests that start no server.
if ls "$logs"/*.log >/dev/null 2>&1; then
  /opt/bulkhead/search_logs.sh "$logs" || failed="$failed search_logs"
else
  echo "no server was started"
fi
cat <<'NOTE'

Not run here, since they need more than the image has:
  formatting, lints, documentation   the Rust toolchain: ./run_tests.sh in the source tree
  generated messages in large counts ./run_tests.sh soak in the source tree
  what says "ignored" above          curl, openssl, sqlite3, promtool, PostgreSQL, Node.js, the wasmtime command,
                                     Python with prometheus_client, standardwebhooks and schemathesis, or the
                                     source tree: ./run_tests.sh
  the benchmark                      gpg and the Rust toolchain: bench/run.sh in the source tree
NOTE
if [ -n "$failed" ]; then
  printf '\nFAILED:%s\n' "$failed"
  exit 1
fi
printf '\nall suites passed\n'
