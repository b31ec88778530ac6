#!/bin/sh
# `run_tests.sh` runs the tests in the image; anything else is for the server.
set -eu
if [ "${1-}" = run_tests.sh ]; then
  shift
  exec /opt/bulkhead/run_tests.sh "$@"
fi
exec /usr/local/bin/bulkhead "$@"
