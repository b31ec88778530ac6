# shellcheck shell=bash
# Functions of tests/image.sh, tests/compose.sh and tests/briefs.sh, which read this file with `.`.

step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# is WHAT EXPECTED FOUND: fails if the values differ.
is() { [ "$2" = "$3" ] || fail "$1: expected $2, found $3"; }

# within SECONDS WHAT COMMAND…: repeats the command until it succeeds, and fails after that time.
within() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "not in time: $what"
    sleep 0.3
  done
}
