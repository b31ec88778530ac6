#!/bin/sh
# Builds the tests. Copies their executables to a folder, one file a suite, and the mocks that they and compose.yaml
# start to another, for the image.
#   docker/collect_tests.sh FOLDER FOLDER_OF_MOCKS
set -eu
to=$1
mocks=$2
mkdir -p "$to" "$mocks"
# cargo names each executable it would run: "Executable unittests src/lib.rs (target/…/decrypt-0f3a)".
cargo auditable test --release --locked --no-run 2>&1 | tee /dev/stderr |
  sed -n 's/^ *Executable .*(\(.*\))$/\1/p' |
  while read -r executable; do
    name=$(basename "$executable")
    suite=${name%-*}
    # A suite without a test has nothing to show.
    if [ "$("$executable" --list --format terse | grep -c ': test$')" -gt 0 ]; then
      strip -o "$to/$suite" "$executable"
    fi
  done
# Cargo built the mocks too, because black-box tests start them. A build of their own would compile most dependencies again.
for mock in mock-upstream mock-receiver mock-authority; do
  strip -o "$mocks/$mock" "target/release/$mock"
done
cp tests/src/mock/upstream/public-key.pem "$mocks/"
# Reading from a pipe hides a failure of cargo; an empty or partial folder does not.
for suite in bulkhead bulkhead_crypto bulkhead_envelope bulkhead_outbound bulkhead_relay bulkhead_sandbox bulkhead_store \
  bulkhead_tests decrypt isolation simulation blackbox; do
  test -x "$to/$suite" || { echo "the test suite $suite was not built" >&2; exit 1; }
done
