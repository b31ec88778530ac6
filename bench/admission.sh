#!/usr/bin/env bash
# Prints the time of the admission of a request: host, origin, access key and scope, with 1000 callers of two keys each.
# The test fails beyond 1 µs.
#   bench/admission.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --release --locked -p bulkhead --bin bulkhead -- --nocapture admission_takes_at_most_one_microsecond 2>&1 |
  grep '^admission: '
