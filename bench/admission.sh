#!/usr/bin/env bash
# Prints the time of the admission of a request: host, origin, access key and scope, with 1000 callers of two keys each.
#   bench/admission.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --release --locked -p bulkhead --bin bulkhead -- --nocapture each_of_many_callers_is_admitted 2>&1 |
  grep '^admission: '
