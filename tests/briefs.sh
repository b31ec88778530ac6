#!/usr/bin/env bash
# Checks the requirements of the briefs in order: packs the committed source without a parent folder, builds the image
# from this archive, serves on port 80, decrypts the sample, uses the other routes, runs the tests in the image with and
# without a network, and sends signatures through the relay with a restart in between.
#   tests/briefs.sh [IMAGE]      IMAGE is the name of the built image, by default bulkhead:briefs
# Needs Docker with compose, curl, jq, openssl, script, and port 80.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/steps.sh
image=${1:-bulkhead:briefs}
for tool in docker curl jq openssl script; do
  command -v "$tool" >/dev/null || { echo "tests/briefs.sh: $tool is missing" >&2; exit 2; }
done

work=$(mktemp -d)
container=
end() {
  status=$?
  trap - EXIT
  if [ -n "$container" ]; then
    [ "$status" = 0 ] || docker logs --tail 40 "$container" >&2 || true
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

git -c tar.umask=0022 archive --format=tar.gz --output="$work/app.tar.gz" HEAD
mkdir "$work/source"
tar -xzf "$work/app.tar.gz" -C "$work/source"
for entry in Cargo.toml host guest wit Dockerfile run_tests.sh tests; do
  [ -e "$work/source/$entry" ] || fail "the top level of the bundle should have $entry"
done
step "bundle: $(wc -c <"$work/app.tar.gz") bytes, without a parent folder"

docker build --tag "$image" "$work/source" >"$work/build" 2>&1 || { tail -n 40 "$work/build" >&2; fail "docker build"; }
step "image built from the bundle"

SECRET=0123456789abcdef0123456789abcdef
container=$(docker run -d -p 80:80 -e "SECRET=$SECRET" "$image")
base=http://localhost:80
ready() { curl --silent --fail --output /dev/null "$base/readyz"; }
within 30 "the server on port 80" ready
step "docker run -d -p 80:80: serves"

# The message contains \n, as in JSON.
curl --silent --show-error --fail -X POST "$base/decryptMessage" -H 'Content-Type: application/json' -d '{
  "Passphrase": "topsecret",
  "Message": "-----BEGIN PGP MESSAGE-----\nVersion: GnuPG v2\n\njA0ECQMCVady3RUyJw3X0kcBF+zdkfZOMhISoYBRwR3uk3vNv+TEg+rJnp4/yYIS\npEoI2S82cDiCNBIVAYWB8WKPtH2R2YSussKhpSJ4mFgqyOA01uwroA==\n=KvJQ\n-----END PGP MESSAGE-----"
}' >"$work/decrypted"
is "the response to the sample" '{"DecryptedMessage":"Nice work!\n"}' "$(jq --compact-output . "$work/decrypted")"
is "its fields" '["DecryptedMessage"]' "$(jq --compact-output keys "$work/decrypted")"
step "the sample: exactly one field, the right plaintext"

token=$(printf hello | openssl dgst -sha256 -hmac "$SECRET" | sed 's/.* //')
curl --silent --fail "$base/token" --data-binary hello >"$work/token"
is "the token" "{\"token\":\"$token\",\"algorithm\":\"HMAC-SHA256\"}" "$(jq --compact-output . "$work/token")"
is "its verification" '{"valid":true}' \
  "$(curl --silent --fail "$base/token/verify" --data-binary hello -H "Bulkhead-Token: $token" | jq --compact-output .)"
is "the health" ok "$(curl --silent --fail "$base/health" | jq --raw-output .status)"
curl --silent --fail "$base/metrics" | jq --exit-status '.metrics | length > 10' >/dev/null || fail "metrics as JSON"
curl --silent --fail "$base/metrics" -H 'Accept: text/plain' >"$work/metrics"
grep -q '^bulkhead_http_requests_total{' "$work/metrics" || fail "metrics as text"
step "token, health, metrics"
docker rm --force --volumes "$container" >/dev/null
container=

# `docker run -t` needs a terminal, which `script` provides in a pipeline.
tests_in_image() {
  script --quiet --return --command "docker run -it --rm $* $image run_tests.sh" /dev/null >"$work/tests" 2>&1 </dev/null ||
    { tail -n 60 "$work/tests" >&2; fail "tests in the image ($*)"; }
  grep -q 'all suites passed' "$work/tests" || fail "the tests in the image should report their end"
  step "docker run -it --rm $* IMAGE run_tests.sh: $(grep -c '^test .* ok' "$work/tests") tests passed"
}
tests_in_image
tests_in_image --network none

BULKHEAD_IMAGE=$image tests/compose.sh demo
step "passed"
