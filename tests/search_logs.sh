#!/bin/sh
# Searches the logs and audit logs of a test run for the secrets that the harness recorded (tests/src/canaries.rs).
#   tests/search_logs.sh FOLDER
set -eu
cd "$1"
count() { wc -l <"$1" | tr -d ' '; }
# First checks that the logs are at trace level and that the search finds a planted secret.
cat ./*.log >all
if ! grep -q '"level":"TRACE"' all || ! grep -q '"message":"request answered"' all; then
  echo "the servers did not log at trace level" >&2
  exit 1
fi
if ! grep -q '"event":"request"' all; then
  echo "the servers did not write audit logs" >&2
  exit 1
fi
{ head -n 1 canaries; echo planted; } >control
grep -qFf canaries control || { echo "the search does not find a planted secret" >&2; exit 1; }
if grep -nFf canaries all >found; then
  echo "the log contains a secret:" >&2
  head -n 5 found >&2
  exit 1
fi
echo "$(count canaries) secrets, and no log line of $(count all) contains one"
