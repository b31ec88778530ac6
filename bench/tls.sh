#!/usr/bin/env bash
# Compares TLS of the server (--tls-cert) with nginx in front of the same server over plain HTTP, with the same
# certificate (ECDSA P-256) and with TLS 1.3. Prints medians of runs in turns: handshakes per second, and requests per
# second on connections that stay open. Also prints a server without TLS, to show what TLS costs.
#   bench/tls.sh [RUNS] [SECONDS]
# Needs wrk, nginx and openssl. Close other programs that use the processors.
set -eu
cd "$(dirname "$0")/.."
runs=${1:-5} seconds=${2:-6}
PATH=$PATH:/usr/sbin
for program in wrk nginx openssl; do
  command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }
done
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked -p bulkhead
scratch=$(mktemp -d)
# The processes of nginx run as another user.
chmod a+rx "$scratch"
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$scratch"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
export SECRET=0123456789abcdef0123456789abcdef
printf 'wrk.method = "POST"\nwrk.body = string.rep("x", 100)\n' >"$scratch/open.lua"
# A connection for each request, and so a handshake.
printf 'wrk.headers["Connection"] = "close"\n' >"$scratch/close.lua"

cat >"$scratch/nginx.conf" <<CONF
worker_processes auto;
pid $scratch/nginx.pid;
error_log $scratch/nginx.log;
daemon off;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $scratch/body;
  proxy_temp_path $scratch/proxy;
  fastcgi_temp_path $scratch/fastcgi;
  uwsgi_temp_path $scratch/uwsgi;
  scgi_temp_path $scratch/scgi;
  keepalive_requests 1000000000;
  upstream bulkhead { server 127.0.0.1:9471; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:9473 ssl;
    ssl_certificate $scratch/cert.pem;
    ssl_certificate_key $scratch/key.pem;
    ssl_protocols TLSv1.3;
    location / {
      proxy_pass http://bulkhead;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host localhost;
    }
  }
}
CONF
names=("bulkhead, TLS" "nginx, TLS, before bulkhead" "bulkhead, plain HTTP")
urls=(https://127.0.0.1:9472 https://127.0.0.1:9473 http://127.0.0.1:9471)
"$target/release/bulkhead" --listen 127.0.0.1:9471 2>/dev/null &
"$target/release/bulkhead" --listen 127.0.0.1:9472 --tls-cert "$scratch/cert.pem" --tls-key "$scratch/key.pem" \
  --tls-handshakes-max 256 2>/dev/null &
nginx -p "$scratch" -c "$scratch/nginx.conf" &

deadline=$((SECONDS + 20))
for url in "${urls[@]}"; do
  until curl -s --cacert "$scratch/cert.pem" --data-binary hello "$url/token" >"$scratch/answer" &&
    grep -o '[0-9a-f]\{64\}' "$scratch/answer" >>"$scratch/tokens"; do
    ((SECONDS < deadline)) || { echo "no server responds at $url" >&2; cat "$scratch/nginx.log" >&2; exit 1; }
    sleep 0.1
  done
done
test "$(sort -u "$scratch/tokens" | wc -l)" -eq 1 || { echo "the tokens differ" >&2; exit 1; }

# rate KIND AT PATH: measures once, and adds the rate to a file. The first run is a warm-up.
rate() {
  local rate
  rate=$(wrk -t1 -c32 -d"${seconds}s" -s "$scratch/$1.lua" "${urls[$2]}$3" |
    tee "$scratch/wrk" | awk '/^Requests\/sec/ {print $2}')
  if grep -q 'Non-2xx' "$scratch/wrk"; then
    cat "$scratch/wrk" >&2
    exit 1
  fi
  [ "$run" -eq 0 ] || echo "$rate" >>"$scratch/$1-$2"
}
for ((run = 0; run <= runs; run++)); do
  for at in "${!urls[@]}"; do
    rate close "$at" /livez
    rate open "$at" /token
  done
done
printf '\nTLS 1.3, ECDSA P-256, wrk -t1 -c32, %s runs of %s s each\n' "$runs" "$seconds"
printf '  %-28s %14s   %14s\n' '' 'GET /livez, new' 'POST /token, open'
median() { sort -n "$1" | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
for at in "${!urls[@]}"; do
  printf '  %-28s %10.0f /s   %12.0f /s\n' "${names[at]}" "$(median "$scratch/close-$at")" "$(median "$scratch/open-$at")"
done
