#!/usr/bin/env bash
# Builds the JavaScript examples outside the source tree and prints their folder.
#   tests/node.sh FOLDER BULKHEAD   builds in FOLDER, with the components of the binary BULKHEAD
set -eu
folder=$1
bulkhead=$(realpath "$2")
cd "$(dirname "$0")/.."
mkdir -p "$folder"
rm -rf "$folder/wit" "$folder/components"
cp -r wit "$folder/"
"$bulkhead" component export "$folder/components" >/dev/null
# Installed packages stay for the next run.
mkdir -p "$folder/examples"
cp -r examples/token-js examples/decrypt-node examples/clients/javascript "$folder/examples/"
for example in token-js decrypt-node javascript; do
  npm --prefix "$folder/examples/$example" install --no-audit --no-fund --no-package-lock >&2
done
npm --prefix "$folder/examples/token-js" run build >&2
npm --prefix "$folder/examples/decrypt-node" run build -- \
  "$folder/components/decrypt.wasm" "$folder/components/crypto-soft.wasm" >&2
echo "$folder"
