#!/bin/sh
# Runs the prebuilt tests inside the image: no network, no toolchain, no writable root needed.
# Prints each test with its result. The exit status is 0 if all tests passed and tests/allowed-skips permits all skips.
set -u
export BULKHEAD_BIN=/usr/local/bin/bulkhead BULKHEAD_FIXTURES=/opt/bulkhead/fixtures
export BULKHEAD_MOCKS=/opt/bulkhead/mocks BULKHEAD_WIT=/opt/bulkhead/wit
# Each test sets the address and the store of its server; the image's own settings must not reach them.
unset BULKHEAD_LISTEN BULKHEAD_STORE
# The tests write files and more than 64 MB of logs, and Docker's shared memory is limited to 64 MB by default.
# With a read-only root file system, the volume is still writable.
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
# The default store is in the working directory, and `check-config` checks that it can be written.
cd "$TMPDIR"
logs=$(mktemp -d)
export BULKHEAD_TEST_LOGS="$logs"
work=$(mktemp -d)
: >"$work/failed"
for suite in /opt/bulkhead/tests/*; do
  name=$(basename "$suite")
  printf '\n== %s\n' "$name"
  # The status of a pipe is that of `tee`.
  { "$suite" "$@" 2>&1 || echo "$name" >>"$work/failed"; } | tee -a "$work/output"
done
failed=$(tr '\n' ' ' <"$work/failed")
printf '\n== skipped tests\n'
sed -n 's/^test .* \.\.\. ignored,* *\([^:]*\).*/\1/p' "$work/output" | sort >"$work/needs"
uniq -c "$work/needs"
uniq "$work/needs" >"$work/distinct"
export ALLOWED_SKIPS=/opt/bulkhead/allowed-skips
# shellcheck source=tests/skips.sh
. /opt/bulkhead/skips.sh
while read -r need; do
  skip_allowed image "$need" || {
    echo "FAILED: tests are ignored because of \"$need\", and tests/allowed-skips has no line \"image: $need\""
    failed="${failed}skips "
  }
done <"$work/distinct"
printf '\n== secrets in the logs of these tests\n'
# The arguments may select only tests that do not start a server.
if ls "$logs"/*.log >/dev/null 2>&1; then
  /opt/bulkhead/search_logs.sh "$logs" || failed="${failed}search_logs "
else
  echo "no server was started"
fi
cat <<'NOTE'

These checks need more than the image has. In the source tree, run:
  ./run_tests.sh fast   formatting, import cycles, lints
  ./run_tests.sh        documentation, and the tests that are skipped above
  ./run_tests.sh soak   large numbers of generated messages
  bench/run.sh          the benchmark, which also needs gpg
NOTE
if [ -n "$failed" ]; then
  printf '\nFAILED: %s\n' "$failed"
  exit 1
fi
printf '\nall suites passed\n'
