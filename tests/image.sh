#!/usr/bin/env bash
# Checks built images: their metadata, that no layer, history or environment contains a secret, the size of the small
# image, and that both work without capabilities and with a read-only root.
#   tests/image.sh [IMAGE [SERVER_IMAGE]]      bulkhead and bulkhead:server by default, as `make image` builds
# Needs Docker, curl, jq, openssl, GNU tar and GNU grep. First checks that the search finds planted secrets.
set -eu
cd "$(dirname "$0")/.."
. tests/steps.sh
image=${1:-bulkhead}
server=${2:-bulkhead:server}
SERVER_BYTES_MAX=80000000
for tool in docker curl jq openssl; do
  command -v "$tool" >/dev/null || { echo "tests/image.sh: $tool is missing" >&2; exit 2; }
done

work=$(mktemp -d)
# The server in the container must be able to read this folder.
chmod a+rx "$work"
bad=bulkhead-with-secrets:$$
volume=bulkhead-image-test-$$
container=
end() {
  status=$?
  trap - EXIT
  [ -z "$container" ] || docker rm --force "$container" >/dev/null 2>&1 || true
  docker volume rm "$volume" >/dev/null 2>&1 || true
  docker image rm --force "$bad" >/dev/null 2>&1 || true
  chmod -R u+rwX "$work" 2>/dev/null || true
  rm -rf "$work"
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

inspect() { docker image inspect --format "$2" "$1"; }

# Unpacks each layer separately, so that files that a later layer deletes are found too.
unpack() {
  local layer count=0
  mkdir -p "$2/layers"
  # By its id, because a name without a tag would save all tags.
  docker save --output "$2/image.tar" "$(inspect "$1" '{{.Id}}')"
  tar -xf "$2/image.tar" -C "$2"
  rm "$2/image.tar"
  for layer in $(jq -r '.[0].Layers[]' "$2/manifest.json"); do
    count=$((count + 1))
    mkdir "$2/layers/$count"
    # Creating devices needs root, and they have no content.
    tar -xf "$2/$layer" -C "$2/layers/$count" --no-same-owner --delay-directory-restore \
      --exclude 'dev/*' --exclude './dev/*'
    chmod -R u+rwX "$2/layers/$count"
  done
  is "number of layers of $1" "$(inspect "$1" '{{len .RootFS.Layers}}')" "$count"
  cp "$2/$(jq -r '.[0].Config' "$2/manifest.json")" "$2/config.json"
}

# File names that indicate a secret.
NAMES='(^|/)(\.git|\.env|\.netrc|\.npmrc|\.pypirc|\.pgpass|\.git-credentials|\.[a-z]*_history|id_(rsa|dsa|ecdsa|ed25519)|\.docker/config\.json|\.aws/credentials|\.cargo/credentials(\.toml)?|[^/]*\.(key|p12|pfx|jks|kdbx|db))$'
# Credentials with a recognizable format.
CREDENTIALS='AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40}|glpat-[A-Za-z0-9_-]{20}|xox[abprs]-[0-9A-Za-z-]{20}|sk_live_[0-9A-Za-z]{20}|AIza[0-9A-Za-z_-]{35}'
# A variable with a value.
VARIABLES='[A-Z_]*(SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)[A-Z_]*=[^ ]'
# A whole key, because programs that read keys contain its first line.
PRIVATE_KEYS='-----BEGIN ([A-Z]+ )*PRIVATE KEY( BLOCK)?-----[^-]{40,9000}'

without_space() { tr -d '\0 \n\r\t'; }

# as_packaged FOLDER FILE: whether it is an unchanged file of a Debian package. Some libraries contain keys for their
# own tests.
as_packaged() {
  local sum
  sum=$(md5sum <"$1/layers/$2" | cut -d ' ' -f 1)
  grep -qsE "^$sum .*/${2##*/}\$" "$1"/layers/*/var/lib/dpkg/info/*.md5sums
}

# secrets FOLDER: prints the secrets in an unpacked image, one per line.
secrets() {
  local published file key
  published=$(grep -zoP -- "$PRIVATE_KEYS" tests/src/mock/upstream/private-key.pem | without_space)
  (cd "$1/layers" && find . | grep -iE "$NAMES" | sed 's/^/name: /') || true
  while read -r file; do
    as_packaged "$1" "$file" || echo "credential: $file"
  done < <(cd "$1/layers" && grep -raloE "$CREDENTIALS" .)
  while read -r file; do
    grep -zaoP -- "$PRIVATE_KEYS" "$1/layers/$file" | while IFS= read -r -d '' key; do
      # The key of the mock upstream is public.
      [ "$(printf %s "$key" | without_space)" = "$published" ] || as_packaged "$1" "$file" ||
        echo "private key: $file"
    done
  done < <(cd "$1/layers" && grep -raloE -- '-----BEGIN ([A-Z]+ )*PRIVATE KEY( BLOCK)?-----' .)
  jq -r '.config.Env[]?, .history[].created_by // empty' "$1/config.json" |
    grep -iE "$VARIABLES|$CREDENTIALS" | sed 's/^/environment or history: /' || true
}

# Checks the search with an image that contains secrets of all kinds. Its last layer deletes them.
search_finds_secrets() {
  local found expected
  mkdir "$work/bad"
  openssl genpkey -algorithm ed25519 -out "$work/bad/forgotten.pem" 2>/dev/null
  (printf '\0\1\2'; cat "$work/bad/forgotten.pem"; printf '\0\3') >"$work/bad/program"
  rm "$work/bad/forgotten.pem"
  printf 'key = AKIA%s\n' ABCDEFGHIJKLMNOP >"$work/bad/settings"
  echo nothing >"$work/bad/.env"
  cat >"$work/bad/Dockerfile" <<DOCKERFILE
FROM $image
USER 0:0
COPY program settings .env /opt/forgotten/
ENV SIGNING_SECRET=a-secret-that-somebody-forgot
RUN rm -r /opt/forgotten
DOCKERFILE
  docker build --quiet --tag "$bad" "$work/bad" >/dev/null
  unpack "$bad" "$work/unpacked-bad"
  found=$(secrets "$work/unpacked-bad")
  for expected in 'private key: .*/opt/forgotten/program' 'credential: .*/opt/forgotten/settings' \
    'name: .*/opt/forgotten/\.env' 'environment or history: SIGNING_SECRET='; do
    grep -q "^$expected" <<<"$found" || fail "the search should find: $expected"
  done
  rm -r "$work/unpacked-bad"
  docker image rm --force "$bad" >/dev/null
  step "the search finds a private key, a credential, .env in a deleted layer, and a variable"
}

no_secrets() {
  local found
  unpack "$1" "$2"
  found=$(secrets "$2")
  [ -z "$found" ] || fail "secrets in $1:
$found"
  step "$1: without secrets in $(find "$2/layers" -maxdepth 1 -mindepth 1 | wc -l) layers, history and environment"
}

has_metadata() {
  local label
  is "user of $1" 65532:65532 "$(inspect "$1" '{{.Config.User}}')"
  is "health check of $1" '["CMD","/usr/local/bin/bulkhead","healthcheck"]' \
    "$(inspect "$1" '{{json .Config.Healthcheck.Test}}')"
  is "volumes of $1" '{"/data":{}}' "$(inspect "$1" '{{json .Config.Volumes}}')"
  is "ports of $1" '{"80/tcp":{}}' "$(inspect "$1" '{{json .Config.ExposedPorts}}')"
  for label in title description licenses source version revision; do
    [ -n "$(inspect "$1" "{{index .Config.Labels \"org.opencontainers.image.$label\"}}")" ] ||
      fail "$1 has no label $label"
  done
  is "version of $1" "$(docker run --rm "$1" --version)" \
    "bulkhead $(inspect "$1" '{{index .Config.Labels "org.opencontainers.image.version"}}')"
}

# The options of the README, without any further permission.
HARDENED=(--cap-drop ALL --security-opt no-new-privileges --read-only)
start() {
  container=$(docker run --detach "${HARDENED[@]}" --volume "$volume:/data" --publish 127.0.0.1::80 "$@")
  base=http://$(docker port "$container" 80/tcp)
  within 60 "the health check" healthy
}
healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = healthy ]; }
stop() {
  docker stop "$container" >/dev/null
  is "exit status" 0 "$(docker inspect --format '{{.State.ExitCode}}' "$container")"
  docker rm "$container" >/dev/null
  container=
}
get() { curl --silent --show-error --fail --max-time 5 "$@"; }
opens_the_sample() {
  is "answer of $1" '{"DecryptedMessage":"Nice work!\n"}' "$(get "$base/decryptMessage" \
    --header 'Content-Type: application/json' --data @examples/sample.json)"
}
source_of_token() { get "$base/health" | jq -r '.components[] | select(.name == "token") | .source'; }
takes_the_file() { [ "$(source_of_token)" = file ]; }

serves() {
  local id
  start "$1"
  opens_the_sample "$1"
  stop
  step "$1: hardened, it is healthy, opens the sample and stops with status 0"

  # The upstream does not exist, so that the request stays in the volume.
  start --env BULKHEAD_UPSTREAM_URL=http://127.0.0.1:9 --env BULKHEAD_UPSTREAM_API_KEY=none "$1"
  id=$(get "$base/crypto/sign?message=keep" | jq -r .id)
  stop
  start --env BULKHEAD_UPSTREAM_URL=http://127.0.0.1:9 --env BULKHEAD_UPSTREAM_API_KEY=none "$1"
  is "the request after a restart" "keep pending" \
    "$(get "$base/crypto/requests/$id" | jq -r '.message + " " + .status')"
  stop
  docker volume rm "$volume" >/dev/null
  step "$1: a request in the volume survives its container"

  # The server's files go to a folder of this user, so that this script can remove them.
  mkdir -m 0777 "$work/exported"
  mkdir "$work/components"
  docker run --rm "${HARDENED[@]}" --volume "$work/exported:/exported" "$1" component export /exported >/dev/null
  cp "$work/exported/token.wasm" "$work/components/"
  chmod -R a+rX "$work/components"
  start --env BULKHEAD_COMPONENTS_DIR=/components --volume "$work/components:/components:ro" "$1"
  within 60 "a component from the folder" takes_the_file
  opens_the_sample "$1"
  stop
  docker volume rm "$volume" >/dev/null
  rm -r "$work/exported" "$work/components"
  step "$1: exports components and compiles one in a separate process"
}

differ_only_in_entry_point() {
  local one
  for one in "$image" "$server"; do
    inspect "$one" '{{json .Config}}' | jq -S '{User, Env, Cmd, Volumes, ExposedPorts, Healthcheck, Labels}
      | .Env |= map(select(startswith("BULKHEAD_")))'
  done >"$work/both"
  is "number of different configurations" 1 "$(jq -cS . "$work/both" | sort -u | wc -l)"
}

# The small image contains only the server and the libraries that it needs.
small() {
  local bytes programs
  bytes=$(inspect "$server" '{{.Size}}')
  ((bytes <= SERVER_BYTES_MAX)) || fail "$server has $bytes bytes, more than $SERVER_BYTES_MAX"
  programs=$(cd "$1/layers" && find . -type f -perm -u+x ! -name '*.so*' | sed 's/^\.\/[0-9]*//')
  is "programs in $server" /usr/local/bin/bulkhead "$programs"
  step "$server: $bytes bytes, and no program except the server"
}

print_sizes() {
  local tests
  [ -d "$(echo "$1"/layers/*/opt/bulkhead/tests)" ] || fail "$image has no tests"
  tests=$(cd "$1/layers" && du --apparent-size --block-size 1 --summarize ./*/opt/bulkhead | awk '{ n += $1 } END { print n }')
  step "$image: $(inspect "$image" '{{.Size}}') bytes, $tests of them for the tests"
}

search_finds_secrets
for one in "$image" "$server"; do has_metadata "$one"; done
differ_only_in_entry_point
step "both images have the same configuration"
no_secrets "$image" "$work/image"
print_sizes "$work/image"
no_secrets "$server" "$work/server"
small "$work/server"
rm -r "$work/image" "$work/server"
for one in "$image" "$server"; do serves "$one"; done
docker run --rm --network none "${HARDENED[@]}" "$image" run_tests.sh >"$work/tests" 2>&1 || {
  grep -A 12 -m 3 -E '^---- .* stdout' "$work/tests" >&2 || true
  tail -n 3 "$work/tests" >&2
  fail "the tests in $image"
}
step "$image: its tests pass: $(grep -c '^test .* ok$' "$work/tests") of $(grep -c '^test .* \.\.\. ' "$work/tests"), the others ignored"
step "passed"
