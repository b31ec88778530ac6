#!/usr/bin/env bash
# Runs a private PostgreSQL server for tests on a free local port.
#   tests/postgres.sh start [FOLDER]   starts it and prints its URL for BULKHEAD_TEST_POSTGRES
#   tests/postgres.sh halt [FOLDER]    stops it and keeps its data for the next start
#   tests/postgres.sh stop [FOLDER]    stops it and removes its data
# FOLDER is target/test-postgres by default. FSYNC=off makes the server faster and not durable. If PostgreSQL is
# missing, the script installs Debian's package, as root or with sudo.
set -eu
action=${1:-}
folder=${2:-$(cd "$(dirname "$0")/.." && pwd)/target/test-postgres}
case $action in
  start | halt | stop) ;;
  *) sed -n '2,7p' "$0" | cut -c3-; exit 2 ;;
esac

say() { echo "$*" >&2; }

# Finds the newest version, because Debian does not add it to PATH.
find_server() {
  command -v initdb >/dev/null && command -v pg_ctl >/dev/null && return
  local bin
  bin=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' 2>/dev/null |
    sort -t/ -k5 -n | tail -n 1)
  [ -n "$bin" ] || return 1
  PATH=$PATH:$(dirname "$bin")
}

install_server() {
  local root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
    root=(sudo -n)
  fi
  command -v apt-get >/dev/null || return 1
  say "installing PostgreSQL"
  # Prevents the package from starting a server of its own.
  "${root[@]}" mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo 'create_main_cluster = false' |
    "${root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  {
    "${root[@]}" apt-get update -qq &&
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends postgresql
  } >&2
}

if ! find_server; then
  install_server && find_server || {
    say "PostgreSQL is missing: install the package postgresql, or put initdb and pg_ctl into PATH"
    exit 1
  }
fi

# The server refuses to run as root.
if [ "$(id -u)" = 0 ]; then
  owner=nobody
  if command -v setpriv >/dev/null; then
    switch=(setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups)
  elif command -v runuser >/dev/null; then
    switch=(runuser -u "$owner" --)
  else
    say "setpriv and runuser are missing, and PostgreSQL does not run as root"
    exit 1
  fi
else
  owner=$(id -un)
  switch=()
fi
server() {
  (cd / && "${switch[@]}" env LC_ALL=C.UTF-8 HOME="$data" PATH="$PATH" "$@")
}

# A file in FOLDER names the data folder, which lies where the server's user has access.
name=$folder/data
if [ "$action" != start ]; then
  [ -e "$name" ] || exit 0
  data=$(cat "$name")
  server pg_ctl -D "$data/db" -m fast -w -s stop || true
  if [ "$action" = stop ]; then
    rm -rf "$data" "$name" "$folder/url" "$folder/port"
    rmdir "$folder"
  fi
  exit
fi

run() {
  server pg_ctl -D "$data/db" -w -s -l "$data/log" \
    -o "-k $data -h 127.0.0.1 -p $1 -c fsync=${FSYNC:-on} -c max_connections=300" start 2>/dev/null
}

if [ -e "$name" ]; then
  data=$(cat "$name")
  # The server runs, was halted, or was not stopped in order.
  if server pg_ctl -D "$data/db" -s status >/dev/null 2>&1 || run "$(cat "$folder/port")"; then
    cat "$folder/url"
    exit
  fi
  rm -rf "$data"
fi
mkdir -p "$folder"
data=$(mktemp -d /tmp/bulkhead-postgres-XXXXXX)
echo "$data" >"$name"
[ "$(id -u)" != 0 ] || chown "$owner" "$data"
server initdb -D "$data/db" -U bulkhead -A trust -E UTF8 --no-sync >/dev/null
# Another process may take the port before the server does.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  port=$((20000 + RANDOM % 20000))
  if run "$port"; then
    echo "$port" >"$folder/port"
    echo "postgres://bulkhead@127.0.0.1:$port/postgres" | tee "$folder/url"
    exit
  fi
done
say "the server did not start:"
tail -n 20 "$data/log" >&2
exit 1
