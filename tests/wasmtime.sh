#!/usr/bin/env bash
# Prints the path of a plain wasmtime command of the version that the server is built on, from FOLDER or the PATH.
#   tests/wasmtime.sh FOLDER             fails if it is in neither
#   tests/wasmtime.sh FOLDER --install   installs it in FOLDER with cargo then
# Its own optimisation is low: that makes it slower at compiling components, and its build takes a
# fraction of the time. What it compiles runs as fast.
set -eu
folder=$1
version=$(sed -n '/^name = "wasmtime"$/{n;s/^version = "\(.*\)"$/\1/p}' "$(dirname "$0")/../Cargo.lock")
fits() { case "$("$1" --version 2>/dev/null)" in "wasmtime $version"*) ;; *) false ;; esac }
for candidate in "$(command -v wasmtime || true)" "$folder/bin/wasmtime"; do
  if [ -n "$candidate" ] && fits "$candidate"; then
    echo "$candidate"
    exit
  fi
done
[ "${2-}" = --install ] || exit 1
echo "installing the wasmtime command $version (a few minutes, once)" >&2
CARGO_TARGET_DIR=$folder/target CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
  cargo install wasmtime-cli --quiet --version "=$version" --locked --root "$folder" \
  --no-default-features --features run,compile,component-model,parallel-compilation >&2
rm -r "$folder/target"
echo "$folder/bin/wasmtime"
