#!/bin/sh
# Searches the logs of a test run for the secrets that its servers were given (tests/src/canaries.rs).
#   tests/search_logs.sh FOLDER
set -eu
cd "$1"
count() { wc -l <"$1" | tr -d ' '; }
# The search finds something where there is something, and the logs are talkative.
cat ./*.log >all
if ! grep -q '"level":"TRACE"' all || ! grep -q '"message":"answered"' all; then
  echo "the servers did not log at trace level" >&2
  exit 1
fi
{ head -n 1 canaries; echo planted; } >control
grep -qFf canaries control || { echo "the search finds nothing at all" >&2; exit 1; }
if grep -nFf canaries all >found; then
  echo "a secret is in the log:" >&2
  head -n 5 found >&2
  exit 1
fi
echo "$(count canaries) secrets, none of them in $(count all) lines"
