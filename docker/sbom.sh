#!/usr/bin/env bash
# Writes the bill of materials of the server's image, as CycloneDX JSON: the crates that its binary lists
# (cargo-auditable), those of the guests, which are in the binary as Wasm and without a list of their own, and
# the packages of Debian. The guests' come from Cargo.lock: run it in the tree that the image was built from.
#   docker/sbom.sh SERVER_IMAGE FILE
# Needs Docker, cargo and jq.
set -eu
image=$1
file=$2
cd "$(dirname "$0")/.."
AUDITABLE2CDX=0.1.0
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
if ! [ -x "$tools/bin/auditable2cdx" ]; then
  cargo install --quiet --locked --root "$tools" "auditable2cdx@$AUDITABLE2CDX"
fi
work=$(mktemp -d)
container=$(docker create "$image")
trap 'docker rm --volumes "$container" >/dev/null; rm -rf "$work"' EXIT

docker cp --quiet "$container:/usr/local/bin/bulkhead" "$work/bulkhead"
"$tools/bin/auditable2cdx" "$work/bulkhead" >"$work/server.json"

# As guest/wasm/build.rs builds them: each for itself, so that features are its own.
for guest in $(sed -n 's/.*Guest::library("[A-Z_]*", "\([a-z-]*\)").*/\1/p' guest/wasm/build.rs); do
  cargo tree --quiet --locked --manifest-path "guest/$guest/Cargo.toml" --target wasm32-wasip2 \
    --edges normal,no-proc-macro --prefix none --no-dedupe --format '{p}|{l}' |
    sed 's/ ([^|]*)|/|/' | sort -u | jq --raw-input --arg guest "$guest" '
      capture("^(?<name>[^ ]+) v(?<version>[^ |]+)\\|(?<licence>.*)$") + {guest: $guest}'
done >"$work/guests.json"

docker cp --quiet "$container:/var/lib/dpkg/status.d" "$work/packages"
for package in "$work"/packages/*; do
  jq --null-input --rawfile status "$package" '$status | split("\n") |
    map(capture("^(?<key>Package|Version|Architecture): (?<value>.+)$")) | from_entries'
done >"$work/packages.json"

jq --slurpfile guests "$work/guests.json" --slurpfile packages "$work/packages.json" '
  ($guests | group_by([.name, .version]) | map(.[0] as $crate |
    "pkg:cargo/\($crate.name)@\($crate.version)" as $purl | {
      type: "library", name: $crate.name, version: $crate.version,
      "bom-ref": ("guest:" + $purl), purl: $purl, scope: "required",
      licenses: (if $crate.licence == "" then [] else
        [{expression: ($crate.licence | gsub("/"; " OR "))}] end),
      properties: map({name: "bulkhead:guest", value: .guest})
    })) as $crates |
  ($packages | map("pkg:deb/debian/\(.Package)@\(.Version | @uri)?arch=\(.Architecture)" as $purl | {
      type: "library", name: .Package, version: .Version, "bom-ref": $purl, purl: $purl, scope: "required"
    })) as $system |
  .components += $crates + $system |
  if ($crates | length) > 0 and ($system | length) > 0 then . else error("a list is empty") end' \
  "$work/server.json" >"$file"
echo "$file: $(jq '.components | length' "$file") components, $(jq '.components | map(select(.properties)) | length' "$file") of them in guests"
