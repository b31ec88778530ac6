#!/usr/bin/env bash
# A client of Bulkhead in bash and curl (7.55 or later), with awk, sed and base64.
#   bulkhead.sh decrypt FILE              decrypts a message; reads the passphrase from standard input
#   bulkhead.sh token FILE                makes a token of a file
#   bulkhead.sh verify FILE               verifies a token; reads it from standard input
#   bulkhead.sh sign FILE [CALLBACK_URL]  requests the signature of a text, and waits for it
# BULKHEAD_URL is the address of the server (http://127.0.0.1:8080), and BULKHEAD_WAIT the number of seconds
# to wait (600). BULKHEAD_ACCESS_KEY is the access key, if the server needs one.
# The exit status is 1 if the server rejects the request, and 75 if the signature is pending.
set -euo pipefail

url=${BULKHEAD_URL:-http://127.0.0.1:8080}
end=$((SECONDS + ${BULKHEAD_WAIT:-600}))

# The headers of the response. They contain nothing confidential.
head=$(mktemp)
trap 'rm -f "$head"' EXIT

# Prints the header with the access key. curl reads it from a pipe, so that it is not an argument.
authorization() {
  [ -z "${BULKHEAD_ACCESS_KEY-}" ] || printf 'Authorization: Bearer %s\n' "$BULKHEAD_ACCESS_KEY"
}

# Sends a request. $1 goes to curl's standard input, because all users of the machine can read command lines.
# Redirects are not followed and proxies are not used, so that confidential data goes to this server only.
# The response is kept in base64, because it may be any bytes, and a plaintext does not belong in a file.
send() {
  local input=$1
  shift
  : >"$head"
  if response=$(printf %s "$input" | curl --disable --silent --show-error --noproxy '*' --max-time 60 \
    --header @<(authorization) --dump-header "$head" "$@" | base64); then
    status=$(awk '/^HTTP\// { status = $2 } END { print status }' "$head")
  else
    : >"$head"
    status=broken
  fi
}

# Sends a request until the status of the response matches $1. After a 503, waits for the time in Retry-After.
request() {
  local expected=$1
  shift
  send "$@"
  until [[ $status =~ ^($expected)$ ]]; do
    [ "$status" = 503 ] && pause "$(retry_after)" || fail
    send "$@"
  done
}

body() { printf %s "$response" | base64 -d; }

# Prints the body of an error only, because any other body may be confidential.
fail() {
  echo "unexpected response: $status" >&2
  case $status in [45]??) body >&2 ;; esac
  exit 1
}

retry_after() { sed -n 's/^[Rr]etry-[Aa]fter: *0*\([1-9][0-9]*\).*/\1/p' "$head"; }

# Waits $1 seconds. Fails if there is no number, or if the client may not wait that long.
pause() { [ -n "$1" ] && [ $((SECONDS + $1)) -le "$end" ] && sleep "$1"; }

# Prints standard input as a JSON string, without a line break at the end.
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

# Prints a field of the response, which must be a string without escapes. The quotes of a field inside another
# string are escaped, so that it is not found.
field() { body | sed -n 's/.*"'"$1"'": *"\([^"\\]*\)".*/\1/p'; }

decrypt() {
  local passphrase
  passphrase=$(quoted)
  request 200 "{\"passphrase\": $passphrase, \"message\": $(quoted <"$1")}" \
    --header 'Content-Type: application/json' --header 'Accept: application/octet-stream' \
    --data-binary @- "$url/decryptMessage"
  body
}

token() {
  request 200 '' --header 'Accept: text/plain' --data-binary "@$1" "$url/token"
  body
  echo
}

verify() {
  local token
  token=$(cat)
  case $token in
    '' | *[!0-9A-Fa-f]*) echo 'not valid'; exit 1 ;;
  esac
  request 200 "Bulkhead-Token: $token" --header @- --data-binary "@$1" "$url/token/verify"
  case $(body) in
    '{"valid":true}') echo valid ;;
    *) echo 'not valid'; exit 1 ;;
  esac
}

sign() {
  request '200|202' '' --get --data-urlencode "message@$1" --data-urlencode "callback_url=${2-}" \
    "$url/crypto/sign"
  if [ "$status" = 202 ]; then await "$url$(field status_url)"; fi
  field signature | grep . || { body >&2; exit 1; }
}

# Repeats the request for the status until the signature is there. Tolerates a server that is unavailable for
# a while, because the request is stored.
await() {
  local seconds
  while seconds=$(retry_after); pause "${seconds:-1}"; do
    send '' "$1"
    case $status:$(body) in
      200:*'"signature":'* | 200:*'"error":'*) return ;;
      200:* | broken:* | 502:* | 503:* | 504:*) ;;
      *) fail ;;
    esac
  done
  echo "not signed yet: $1" >&2
  exit 75
}

case ${1-}:$# in
  decrypt:2 | token:2 | verify:2 | sign:[23]) "$@" ;;
  *) sed -n '2,9s/^# //p' "$0" >&2; exit 2 ;;
esac
