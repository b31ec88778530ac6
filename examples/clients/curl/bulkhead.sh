#!/usr/bin/env bash
# A client of Bulkhead in bash and curl (7.55 or later), with awk, sed and base64.
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
# What is confidential goes to this server alone: no redirect is followed, no proxy asked.
# The answer is kept in base64: it may be any bytes, and a plaintext does not belong in a file.
send() {
  local input=$1
  shift
  : >"$head"
  if answer=$(printf %s "$input" | curl --disable --silent --show-error --noproxy '*' --max-time 60 \
    --dump-header "$head" "$@" | base64); then
    status=$(awk '/^HTTP\// { status = $2 } END { print status }' "$head")
  else
    : >"$head"
    status=broken
  fi
}

# The same until the answer has a status that $1 matches. A server without room is asked again when it says.
ask() {
  local expected=$1
  shift
  send "$@"
  until [[ $status =~ ^($expected)$ ]]; do
    [ "$status" = 503 ] && pause "$(retry_after)" || refuse
    send "$@"
  done
}

body() { printf %s "$answer" | base64 -d; }

# Only an error is shown: anything else may be confidential.
refuse() {
  echo "the answer: $status" >&2
  case $status in [45]??) body >&2 ;; esac
  exit 1
}

retry_after() { sed -n 's/^[Rr]etry-[Aa]fter: *0*\([1-9][0-9]*\).*/\1/p' "$head"; }

# Waits so many seconds; fails where that is not said, or too long.
pause() { [ -n "$1" ] && [ $((SECONDS + $1)) -le "$end" ] && sleep "$1"; }

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
  ask 200 "{\"passphrase\": $passphrase, \"message\": $(quoted <"$1")}" \
    --header 'Content-Type: application/json' --header 'Accept: application/octet-stream' \
    --data-binary @- "$url/decryptMessage"
  body
}

token() {
  ask 200 '' --header 'Accept: text/plain' --data-binary "@$1" "$url/token"
  body
  echo
}

verify() {
  local token
  token=$(cat)
  case $token in
    '' | *[!0-9A-Fa-f]*) echo 'not valid'; exit 1 ;;
  esac
  ask 200 "Bulkhead-Token: $token" --header @- --data-binary "@$1" "$url/token/verify"
  case $(body) in
    '{"valid":true}') echo valid ;;
    *) echo 'not valid'; exit 1 ;;
  esac
}

sign() {
  ask '200|202' '' --get --data-urlencode "message@$1" --data-urlencode "callback_url=${2-}" "$url/crypto/sign"
  if [ "$status" = 202 ]; then await "$url$(field status_url)"; fi
  field signature | grep . || { body >&2; exit 1; }
}

# Asks until an accepted request is done. It is stored: a server that is away for a while is waited for.
await() {
  local seconds
  while seconds=$(retry_after); pause "${seconds:-1}"; do
    send '' "$1"
    case $status:$(body) in
      200:*'"signature":'* | 200:*'"error":'*) return ;;
      200:* | broken:* | 502:* | 503:* | 504:*) ;;
      *) refuse ;;
    esac
  done
  echo "not signed yet: $1" >&2
  exit 75
}

case ${1-}:$# in
  decrypt:2 | token:2 | verify:2 | sign:[23]) "$@" ;;
  *) sed -n '2,8s/^# //p' "$0" >&2; exit 2 ;;
esac
