# shellcheck shell=sh
# Functions for skipping tests; the scripts that run tests read this file with `.`. The list allowed-skips contains the
# skips that each environment permits.

# skip_allowed ENVIRONMENT NEED: whether the list permits the skip. ALLOWED_SKIPS is the path of the list.
skip_allowed() { grep -qxF "$1: $2" "$ALLOWED_SKIPS"; }

# skip NEED TEXT…: prints the skip and its reason, and exits if the list does not permit it.
skip() {
  need=$1
  shift
  echo "SKIPPED ($need): $*"
  if [ -n "${CI-}" ]; then environment=ci; else environment=developer; fi
  skip_allowed "$environment" "$need" || {
    echo "FAILED: tests/allowed-skips has no line \"$environment: $need\"" >&2
    exit 1
  }
}
