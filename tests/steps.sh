# shellcheck shell=bash
# What tests/image.sh and tests/compose.sh tell and wait with; they read it with `.`.

step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# is WHAT EXPECTED FOUND
is() { [ "$2" = "$3" ] || fail "$1: expected $2, found $3"; }

# within SECONDS WHAT COMMAND…: tries the command until it succeeds.
within() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "in time: $what"
    sleep 0.3
  done
}
