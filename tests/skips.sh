# shellcheck shell=sh
# How the scripts that run tests leave something out; they read this file with `.`. The list allowed-skips beside it
# says what each environment may leave out.

# skip_allowed ENVIRONMENT NEED: whether the list has it. ALLOWED_SKIPS is the path of the list.
skip_allowed() { grep -qxF "$1: $2" "$ALLOWED_SKIPS"; }

# skip NEED TEXT…: prints what is left out and why, and exits if that is not allowed.
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
