#!/usr/bin/env bash
# Builds the examples in JavaScript, apart from the source tree, and prints where.
#   tests/node.sh FOLDER BULKHEAD   in FOLDER; BULKHEAD is the binary whose components they take
set -eu
folder=$1
bulkhead=$(realpath "$2")
cd "$(dirname "$0")/.."
mkdir -p "$folder"
rm -rf "$folder/wit" "$folder/components"
cp -r wit "$folder/"
"$bulkhead" component export "$folder/components" >/dev/null
# What npm has installed stays from one run to the next.
mkdir -p "$folder/examples"
cp -r examples/token-js examples/decrypt-node examples/clients/javascript "$folder/examples/"
for example in token-js decrypt-node javascript; do
  npm --prefix "$folder/examples/$example" install --no-audit --no-fund --no-package-lock >&2
done
npm --prefix "$folder/examples/token-js" run build >&2
npm --prefix "$folder/examples/decrypt-node" run build -- \
  "$folder/components/decrypt.wasm" "$folder/components/crypto-soft.wasm" >&2
echo "$folder"
