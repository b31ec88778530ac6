#!/bin/sh
# Copies what decides which dependencies are built, and how: manifests, the lock file, the toolchain, the build
# scripts of the guests. Every crate of the workspace is an empty stand-in. An image layer that builds this copy stays
# valid until one of these files changes.
#   docker/skeleton.sh FOLDER
set -eu
to=$1
mkdir -p "$to"
cp -r .cargo Cargo.toml Cargo.lock rust-toolchain.toml "$to/"

# stand_in CRATE FILE CONTENT: if the crate has that file.
stand_in() {
  [ -e "$1/$2" ] || return 0
  mkdir -p "$(dirname "$to/$1/$2")"
  echo "$3" >"$to/$1/$2"
}

find . -mindepth 2 -name Cargo.toml -not -path './target/*' | sort | while read -r manifest; do
  crate=$(dirname "$manifest")
  mkdir -p "$to/$crate"
  cp "$manifest" "$to/$crate/"
  stand_in "$crate" src/lib.rs ''
  stand_in "$crate" src/main.rs 'fn main() {}'
  stand_in "$crate" build.rs 'fn main() {}'
  stand_in "$crate" build/build.rs 'fn main() {}'
  # Programs and tests that a manifest names.
  for source in $(sed -n 's/^path = "\(.*\.rs\)"$/\1/p' "$manifest"); do
    [ "$source" = src/lib.rs ] || stand_in "$crate" "$source" 'fn main() {}'
  done
done
# Guests are built by these build scripts, and so are the dependencies of guests.
cp guest/builder/src/lib.rs "$to/guest/builder/src/"
for crate in wasm test-components; do cp "guest/$crate/build.rs" "$to/guest/$crate/"; done
