#!/usr/bin/env bash
# Starts compose.yaml and compose.scale.yaml, uses them as a client, and removes them again. In the scaled setup, each
# replica is killed once while requests are under way, and no accepted request may be lost. Then one replica is stopped,
# which must not interrupt requests, and one is frozen, which must delay requests only briefly. Its access keys and TLS
# are checked too.
#   tests/compose.sh [demo] [scale]      both by default; with the image `bulkhead`, or BULKHEAD_IMAGE
# Needs Docker with compose, curl, jq and openssl. Uses free ports and its own project name.
set -eu
cd "$(dirname "$0")/.."
. tests/steps.sh
export BULKHEAD_PORT='' MOCK_UPSTREAM_PORT='' MOCK_RECEIVER_PORT=''
for tool in docker curl jq openssl; do
  command -v "$tool" >/dev/null || { echo "tests/compose.sh: $tool is missing" >&2; exit 2; }
done

work=$(mktemp -d)
project=bulkhead-test-$$
file=
# The options of curl for requests to the server: its authority and the access key, if it has them.
access=()

compose() { docker compose --project-name "$project" --file "$file" "$@"; }

# After a failure, prints the containers' logs first.
end() {
  status=$?
  trap - EXIT
  if [ -n "$file" ]; then
    [ "$status" = 0 ] || compose logs --tail 40 >&2 || true
    compose down --volumes --timeout 5 >"$work/down" 2>&1 || { cat "$work/down" >&2; status=1; }
  fi
  rm -rf "$work"
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

# up FILE SERVICE PORT SCHEME: starts a set-up. The last three say where its server is.
up() {
  file=$1
  step "$file: up"
  compose up --detach --no-build >"$work/up" 2>&1 || {
    cat "$work/up" >&2
    fail "$file did not start (make image builds its images)"
  }
  within 120 "health of the servers" servers_are_healthy
  base=$4://$(compose port "$2" "$3")
  upstream=http://$(compose port mock-upstream 8081)
  receiver=http://$(compose port mock-receiver 8081)
}

servers_are_healthy() {
  local container
  for container in $(compose ps --quiet bulkhead); do healthy "$container" || return 1; done
}
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }

down() {
  compose down --volumes --timeout 5 >"$work/down" 2>&1 || { cat "$work/down" >&2; fail "$file did not stop"; }
  file=
}

# Every container runs hardened, as in production.
hardened() {
  local container found
  for container in $(compose ps --all --quiet); do
    found=$(docker inspect --format \
      '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}' "$container")
    is "hardening of $(docker inspect --format '{{.Name}}' "$container")" \
      "true [ALL] [no-new-privileges:true]" "$found"
  done
  for container in $(compose ps --quiet bulkhead); do
    for secret in token upstream-key webhook access-key monitoring-key; do
      if docker inspect --format '{{json .Config}}' "$container" | grep -qFf "docker/demo-secrets/$secret"; then
        fail "docker inspect shows the secret $secret"
      fi
    done
  done
}

# get URL…: prints a response of the mocks, and ask URL… one of the server.
get() { curl --silent --show-error --fail --max-time 5 "$@"; }
ask() { get "${access[@]}" "$@"; }

# status ARGUMENTS…: prints the status of a response, without the access key.
status() { curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' "$@" || true; }

# control COMMAND: changes how the upstream responds.
control() { get "$upstream/control" --data "$1"; }

# sign MESSAGE PATH: prints the status. The response is in a file named after the path.
sign() {
  curl --silent --max-time 5 "${access[@]}" --output "$work/answer$2" --write-out '%{http_code}' \
    --get "$base/crypto/sign" --data-urlencode "message=$1" --data-urlencode "callback_url=http://mock-receiver:8080/$2" || true
}

# finished ID: whether a request is signed and its receiver was notified.
finished() {
  ask "$base/crypto/requests/$1" >"$work/state$1" 2>/dev/null &&
    [ "$(jq -r '.status + " " + .notification.status' "$work/state$1")" = "signed delivered" ]
}

# notified ID: whether the receiver got a valid webhook with the right signature of the message.
notified() {
  local signature
  signature=$(jq -r .signature "$work/state$1")
  get "$receiver/control/deliveries" | jq --slurp --exit-status --arg id "$1" --arg signature "$signature" '
    map(select(.body.data.id == $id)) | length > 0 and all(.verified) and any(.status == 204)
      and all(.id == $id and .body.type == "signature.ready" and .body.data.signature == $signature)' >/dev/null
}

# genuine ID: whether openssl verifies the signature.
genuine() {
  jq -j .message "$work/state$1" >"$work/message"
  jq -j .signature "$work/state$1" | tr -- '-_' '+/' | openssl base64 -d -A >"$work/signature"
  openssl dgst -sha256 -verify tests/src/mock/upstream/public-key.pem -signature "$work/signature" \
    "$work/message" >/dev/null
}

within_quota() {
  get "$upstream/control/summary" >"$work/summary"
  jq --exit-status '.arrivals > 0 and .over_quota == 0 and .max_in_window <= .calls' "$work/summary" >/dev/null ||
    fail "the upstream was called too often: $(cat "$work/summary")"
  step "the upstream counted $(jq -r '"\(.arrivals) calls, at most \(.max_in_window) of \(.calls)"' \
    "$work/summary") in any window"
}

token_of_hello() { printf hello | openssl dgst -sha256 -hmac "$(cat docker/demo-secrets/token)" | sed 's/.* //'; }

# slow N SECONDS: requests that token with a body that takes this time to send.
slow() {
  { printf hel; sleep "$2"; printf lo; } | curl --silent --verbose --max-time 60 --request POST --upload-file - \
    "${access[@]}" --header 'Accept: text/plain' --header 'Expect: 100-continue' "$base/token" \
    >"$work/slow$1" 2>"$work/log$1"
}
# under_way N: whether the server has the head and waits for the body.
under_way() { grep -qs '^< HTTP/1.1 100' "$work/log$1"; }

# stopped CONTAINER: checks that the server ended by itself and was not killed by Docker.
stopped() { is "exit status of the server that was stopped" 0 "$(docker inspect --format '{{.State.ExitCode}}' "$1")"; }

demo() {
  local container client
  up compose.yaml bulkhead 80 http
  hardened
  is "status of a request with the host of a web page" 421 "$(status --header 'Host: rebound.example' "$base/livez")"

  is "decryption" '{"DecryptedMessage":"Nice work!\n"}' "$(ask "$base/decryptMessage" \
    --header 'Content-Type: application/json' --data @examples/sample.json)"
  is "token" "$(token_of_hello)" \
    "$(ask "$base/token" --header 'Accept: text/plain' --data-binary hello)"
  step "decryption and token are right"

  is "status of the first request" 202 "$(sign hello hooks)"
  id=$(jq -r .id "$work/answerhooks")
  is "its status_url" pending "$(ask "$base$(jq -r '.status_url | sub("^https?://[^/]*"; "")' "$work/answerhooks")" |
    jq -r .status)"
  step "202: pending"
  within 90 "a signature and a webhook" finished "$id"
  notified "$id" || fail "the receiver's record of the webhook: $(get "$receiver/control/deliveries")"
  genuine "$id" || fail "openssl does not verify the signature"
  step "signed, delivered, both signatures verify"
  is "status of the request when repeated" 200 "$(sign hello again)"
  is "signature of the request when repeated" "$(jq -r .signature "$work/state$id")" \
    "$(jq -r .signature "$work/answeragain")"
  step "200: the same signature"

  container=$(compose ps --quiet bulkhead)
  control '{"mode": "503", "path": "/crypto/sign"}'
  is "status of a request before a restart" 202 "$(sign "before a restart" restart)"
  id=$(jq -r .id "$work/answerrestart")
  compose restart bulkhead >/dev/null 2>&1
  # The port changes when the container restarts.
  base=http://$(compose port bulkhead 80)
  within 60 "health after a restart" healthy "$container"
  control '{"mode": "normal"}'
  within 90 "a signature and a webhook after a restart" finished "$id"
  notified "$id" || fail "the receiver's record of the webhook: $(get "$receiver/control/deliveries")"
  step "restarted while a request was pending: signed, delivered"
  within_quota

  # Longer than Docker waits by default (10 s).
  slow 0 12 &
  client=$!
  within 10 "a slow request under way" under_way 0
  compose stop bulkhead >/dev/null 2>&1
  wait "$client" || fail "the slow request was cut when the server was stopped"
  is "the slow answer" "$(token_of_hello)" "$(cat "$work/slow0")"
  stopped "$container"
  step "stopped: the running request got its response"
  down
}

# until_accepted N: sends message N until it is accepted. After a broken connection the message may or may not be
# accepted; sending it again gives the same request.
until_accepted() {
  local deadline=$((SECONDS + 60)) status
  while ((SECONDS < deadline)); do
    status=$(sign "message $1" "$1")
    case $status in
      200 | 202)
        jq -r .id "$work/answer$1" >"$work/id.$1"
        return
        ;;
    esac
    echo "$status" >>"$work/refused"
    sleep 0.2
  done
}

accepted() { find "$work" -name 'id.*' -size +0 | wc -l; }
signed() { get "$upstream/control/summary" | jq .signed_messages; }
accepted_at_least() { [ "$(accepted)" -ge "$1" ]; }
signed_at_least() { [ "$(signed)" -ge "$1" ]; }
reachable() { ask --output /dev/null "$base/readyz" 2>/dev/null; }

# stop_one CONTAINER: stops one replica while each replica has a request. All requests get a response.
stop_one() {
  local clients=() n
  for n in 0 1 2; do
    slow "$n" 8 &
    clients+=($!)
  done
  for n in 0 1 2; do within 10 "slow request $n under way" under_way "$n"; done
  docker stop "$1" >/dev/null
  stopped "$1"
  for n in 0 1 2; do
    wait "${clients[n]}" || fail "slow request $n was cut when a replica was stopped"
    is "slow answer $n" "$(token_of_hello)" "$(cat "$work/slow$n")"
  done
  docker start "$1" >/dev/null
  within 60 "the replica that was started again" healthy "$1"
  step "stopped $(docker inspect --format '{{.Name}}' "$1"): the running requests got their responses"
}

# freeze_one CONTAINER: a frozen replica accepts connections and does not respond. Requests wait for it at most as long
# as docker/haproxy.cfg says, and soon no request is sent to it.
freeze_one() {
  local n clients=()
  docker pause "$1" >/dev/null
  for n in 0 1 2 3 4 5; do
    curl --silent --max-time 15 "${access[@]}" --output /dev/null --write-out '%{http_code} %{time_total}\n' \
      --data-binary hello "$base/token" >"$work/frozen$n" &
    clients+=($!)
  done
  for n in 0 1 2 3 4 5; do
    wait "${clients[n]}" || fail "request $n should not hang at the frozen replica"
  done
  # At least one request met the frozen replica: it waited for the handshake, or ended with 504.
  awk '$1 != 200 && $1 != 504 { bad = 1 } $1 == 504 || $2 >= 0.4 { met = 1 } END { exit bad || !met }' \
    "$work"/frozen? || fail "responses while a replica was frozen: $(cat "$work"/frozen?)"
  for n in 0 1 2 3 4 5; do ask --output /dev/null --data-binary hello "$base/token"; done
  docker unpause "$1" >/dev/null
  step "froze $(docker inspect --format '{{.Name}}' "$1"): every request got a response"
}

# protected: requests need TLS and an access key with the scope of the route. $1 is a replica.
protected() {
  local trust=(--cacert "$work/ca.pem")
  authorization monitoring-key >"$work/monitoring"
  is "status without a certificate authority" 000 "$(status "$base/readyz")"
  is "status without an access key" 401 "$(status "${trust[@]}" --data-binary hello "$base/token")"
  is "status with a key of another scope" 403 \
    "$(status "${trust[@]}" --header "@$work/monitoring" --data-binary hello "$base/token")"
  is "status of the metrics through the proxy" 404 "$(status "${access[@]}" "$base/metrics")"
  [ "$(status "http://${base#*://}/readyz")" != 200 ] || fail "the proxy should not serve plain HTTP"
  is "addresses of the metrics that the host reaches" '' "$(docker port "$1")"
  step "TLS, 401, 403; metrics at an address of their own"
}
# authorization FILE: prints the header with an access key.
authorization() { printf 'Authorization: Bearer %s\n' "$(cat "docker/demo-secrets/$1")"; }

scale() {
  local count=36 n id before replica replicas unfinished
  authorization access-key >"$work/authorization"
  up compose.scale.yaml proxy 8443 https
  compose cp proxy:/tls/ca.pem "$work/ca.pem" >/dev/null 2>&1 || fail "the proxy should have the certificate of the authority"
  access=(--cacert "$work/ca.pem" --header "@$work/authorization")
  hardened
  mapfile -t replicas < <(compose ps --quiet bulkhead)
  is "replicas" 3 "${#replicas[@]}"
  within 30 "an answer through the load balancer" reachable
  protected "${replicas[0]}"

  : >"$work/refused"
  # Six clients send a third of the requests now, and the others while replicas are killed.
  step "sending $count requests"
  for client in 0 1 2 3 4 5; do
    for ((n = client; n < count; n += 6)); do
      ((n < count / 3)) || within 120 "the first signature" signed_at_least 2
      until_accepted "$n"
    done &
  done
  within 60 "a third of the requests accepted" accepted_at_least $((count / 3))

  for replica in "${replicas[@]}"; do
    before=$(signed)
    within 120 "calls under way" signed_at_least $((before + 2))
    ((before + 2 < count)) || fail "all was signed before every replica was killed: send more"
    docker kill "$replica" >/dev/null
    is "the killed replica" exited "$(docker inspect --format '{{.State.Status}}' "$replica")"
    step "killed $(docker inspect --format '{{.Name}}' "$replica"), with $(accepted) accepted and $(signed) signed"
    within 120 "calls without it" signed_at_least $((before + 4))
    docker start "$replica" >/dev/null
    within 60 "the replica that was started again" healthy "$replica"
  done
  # Waits for the clients.
  wait
  is "accepted" "$count" "$(accepted)"
  step "$count accepted; $(wc -l <"$work/refused") attempts failed and were repeated"

  for ((n = 0; n < count; n++)); do
    id=$(cat "$work/id.$n")
    within 300 "message $n signed and delivered" finished "$id"
    is "message of the request" "message $n" "$(jq -r .message "$work/state$id")"
    notified "$id" || fail "message $n: the receiver's record"
    genuine "$id" || fail "message $n: openssl does not verify the signature"
  done
  unfinished=$(get "$receiver/control/deliveries" | jq --slurp '[.[] | select(.verified | not)] | length')
  is "webhooks that do not verify" 0 "$unfinished"
  step "all $count signed and delivered, with $(get "$receiver/control/deliveries" | wc -l) webhooks"
  within_quota
  stop_one "${replicas[0]}"
  freeze_one "${replicas[1]}"
  down
  access=()
}

[ $# -gt 0 ] || set -- demo scale
for which in "$@"; do
  case $which in
    demo | scale) "$which" ;;
    *) sed -n '5,6p' "$0" | cut -c3-; exit 2 ;;
  esac
done
step "passed: $*"
