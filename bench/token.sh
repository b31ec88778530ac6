#!/usr/bin/env bash
# Compares POST /token with a server that has access keys, with a bare hyper server and with Go's net/http, which compute
# the same HMAC natively. Prints the median requests per second of runs in turns, and ratios.
#   bench/token.sh [RUNS] [SECONDS]
# Needs wrk and go. Close other programs that use the processors.
set -eu
cd "$(dirname "$0")/.."
runs=${1:-5} seconds=${2:-6}
for program in wrk go; do
  command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }
done
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked -p bulkhead -p bulkhead-tests -p bulkhead-bench
scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT
GO111MODULE=off GOCACHE=$scratch/cache go build -o "$scratch/go" bench/go/main.go
export SECRET=0123456789abcdef0123456789abcdef
# All servers get the header, so that their requests are equal. 100 other callers have keys too.
"$target/release/bulkhead" access-key new --name bench --scope token:make >"$scratch/new"
key=$(head -n 1 "$scratch/new")
{
  printf '{"entries": ['
  for ((caller = 0; caller < 100; caller++)); do
    digest=$(printf 'caller %s' "$caller" | sha256sum | cut -d ' ' -f 1)
    printf '{"name": "caller-%s", "keys": [{"sha256": "%s"}], "scopes": ["decrypt"]},\n' "$caller" "$digest"
  done
  sed -n '/^{/,$p' "$scratch/new"
  echo ']}'
} >"$scratch/keys.json"
printf 'wrk.method = "POST"\nwrk.body = string.rep("x", 100)\nwrk.headers["Authorization"] = "Bearer %s"\n' \
  "$key" >"$scratch/post.lua"
printf 'header = "Authorization: Bearer %s"\n' "$key" >"$scratch/curl"

names=(bulkhead "with keys" "bare hyper" "Go net/http")
ports=(9461 9464 9462 9463)
"$target/release/bulkhead" --listen 127.0.0.1:9461 2>/dev/null &
"$target/release/bulkhead" --listen 127.0.0.1:9464 --access-keys "$scratch/keys.json" 2>/dev/null &
"$target/release/bare_hmac" 127.0.0.1:9462 &
"$scratch/go" 127.0.0.1:9463 &

# Waits for all servers, and checks that they return the same token.
deadline=$((SECONDS + 20))
for port in "${ports[@]}"; do
  until curl -s --config "$scratch/curl" --data-binary hello "127.0.0.1:$port/token" >"$scratch/answer" && test -s "$scratch/answer"; do
    ((SECONDS < deadline)) || { echo "no server responds on port $port" >&2; exit 1; }
  done
  grep -o '[0-9a-f]\{64\}' "$scratch/answer" >>"$scratch/tokens"
done
test "$(sort -u "$scratch/tokens" | wc -l)" -eq 1 || { echo "the tokens differ" >&2; exit 1; }

for ((run = 0; run <= runs; run++)); do
  for at in "${!ports[@]}"; do
    rate=$(wrk -t1 -c32 -d"${seconds}s" -s "$scratch/post.lua" "http://127.0.0.1:${ports[at]}/token" |
      tee "$scratch/wrk" | awk '/^Requests\/sec/ {print $2}')
    if grep -q 'Non-2xx\|Socket errors' "$scratch/wrk"; then
      cat "$scratch/wrk" >&2
      exit 1
    fi
    # The first run is a warm-up.
    [ "$run" -eq 0 ] || echo "$rate" >>"$scratch/rates-$at"
  done
done
printf '\nPOST /token, 100 bytes, wrk -t1 -c32, %s runs of %s s each\n' "$runs" "$seconds"
median() { sort -n "$1" | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
ours=$(median "$scratch/rates-0")
for at in "${!ports[@]}"; do
  awk -v name="${names[at]}" -v rate="$(median "$scratch/rates-$at")" -v ours="$ours" \
    'BEGIN {printf "  %-12s %8.0f requests/s   Bulkhead has %.2f of it\n", name, rate, ours / rate}'
done
