#!/usr/bin/env bash
# A client of Bulkhead in bash and curl (7.76 or later), with awk, sed and base64.
#   bulkhead.sh decrypt FILE              opens a message; the passphrase comes on standard input
#   bulkhead.sh token FILE                makes a token of a file
#   bulkhead.sh verify FILE               checks a token that comes on standard input
#   bulkhead.sh sign FILE [CALLBACK_URL]  has a text signed, waits for the signature
# BULKHEAD_URL is the server, http://127.0.0.1:8080 by default; BULKHEAD_WAIT for how many seconds to
# wait, 600 by default. The exit status is 1 for a refusal, and 75 for a signature that is not there yet.
set -euo pipefail

url=${BULKHEAD_URL:-http://127.0.0.1:8080}
end=$((SECONDS + ${BULKHEAD_WAIT:-600}))

# The headers of answers; nothing in them is confidential.
head=$(mktemp)
trap 'rm -f "$head"' EXIT

# Sends a request with $1 on curl's standard input: command lines can be read by everybody on the machine.
# The answer is kept in base64: it may be any octets, and a plaintext does not belong in a file.
ask() {
  local input=$1
  shift
  until
    : >"$head"
    answer=$(printf %s "$input" | curl --silent --show-error --fail-with-body --max-time 60 \
      --dump-header "$head" "$@" | base64)
  do
    if ! grep -q '^HTTP/[0-9.]* 503' "$head" || ! pause; then
      body >&2
      exit 1
    fi
  done
}

body() { printf %s "$answer" | base64 -d; }

# Waits as long as the server says; fails where it does not, or where that is too long.
pause() {
  local after
  after=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9][0-9]*\).*/\1/p' "$head")
  [ -n "$after" ] && [ $((SECONDS + after)) -le "$end" ] && sleep "$after"
}

# What comes on standard input as a JSON string; a line end at its end does not count.
quoted() {
  LC_ALL=C awk '
    BEGIN { for (i = 1; i < 32; i++) escape[sprintf("%c", i)] = sprintf("\\u%04x", i); printf "\"" }
    {
      gsub(/["\\]/, "\\\\&")
      if (/[\001-\037]/) for (control in escape) gsub(control, escape[control])
      printf "%s%s", (NR == 1 ? "" : "\\n"), $0
    }
    END { printf "\"" }'
}

# A field of the answer that is a string without escapes. One inside of another string is not found:
# its quotes are escaped.
field() { body | sed -n 's/.*"'"$1"'": *"\([^"\\]*\)".*/\1/p'; }

decrypt() {
  local passphrase
  passphrase=$(quoted)
  ask "{\"passphrase\": $passphrase, \"message\": $(quoted <"$1")}" \
    --header 'Content-Type: application/json' --header 'Accept: application/octet-stream' \
    --data-binary @- "$url/decryptMessage"
  body
}

token() {
  ask '' --header 'Accept: text/plain' --data-binary "@$1" "$url/token"
  body
  echo
}

verify() {
  local token
  token=$(cat)
  case $token in
    '' | *[!0-9A-Fa-f]*) echo 'not valid'; exit 1 ;;
  esac
  ask "Bulkhead-Token: $token" --header @- --data-binary "@$1" "$url/token/verify"
  case $(body) in
    '{"valid":true}') echo valid ;;
    *) echo 'not valid'; exit 1 ;;
  esac
}

sign() {
  ask '' --get --data-urlencode "message@$1" --data-urlencode "callback_url=${2-}" "$url/crypto/sign"
  local status_url
  status_url=$(field status_url)
  until field signature | grep .; do
    case $(body) in
      *'"error":'*) body >&2; exit 1 ;;
    esac
    pause || { echo "not signed yet: $url$status_url" >&2; exit 75; }
    ask '' "$url$status_url"
  done
}

case ${1-}:$# in
  decrypt:2 | token:2 | verify:2 | sign:[23]) "$@" ;;
  *) sed -n '2,8s/^# //p' "$0" >&2; exit 2 ;;
esac
