#!/usr/bin/env bash
# Prints the path of a plain wasmtime command in the version that the server uses, from FOLDER or from PATH.
#   tests/wasmtime.sh FOLDER             fails if it is missing
#   tests/wasmtime.sh FOLDER --install   installs it into FOLDER with cargo if it is missing
# The command is built without optimisation, which takes a fraction of the time. It compiles components more slowly
# then, but they run as fast.
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
