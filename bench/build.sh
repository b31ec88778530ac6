#!/usr/bin/env bash
# Measures what building costs: CPU time (user and system), wall time, the number of units, and each unit above ten
# seconds. It builds a fresh clone with an empty target folder: first the server (`cargo build --release -p bulkhead`),
# then, with another empty target folder, every build that ./run_tests.sh makes, without running a test.
#   bench/build.sh [COMMIT] [server|tests]     HEAD by default, and both
# To compare two commits, run it for one after the other on an idle machine. Dependencies are downloaded first and are
# not measured. CARGO_ARGS adds arguments to the build of the server, for example `--config profile.release.lto=true`.
set -eu
cd "$(dirname "$0")/.."
commit=$(git rev-parse --verify "${1:-HEAD}^{commit}")
which=${2:-server tests}
for part in $which; do
  case $part in
    server | tests) ;;
    *) sed -n '2,8p' "$0" | cut -c3-; exit 2 ;;
  esac
done
work=$(mktemp -d "${TMPDIR:-/tmp}/bulkhead-build-XXXXXX")
trap 'rm -rf "$work"' EXIT
git clone --quiet --no-checkout . "$work/source"
git -C "$work/source" checkout --quiet "$commit"
(cd "$work/source" && cargo fetch --quiet --locked)
echo "commit $commit"

# A wrapper for cargo that measures each command. It adds --timings, and adds --no-run to commands that run tests.
mkdir "$work/bin"
cat >"$work/bin/cargo" <<'SHIM'
#!/usr/bin/env bash
set -u
real=$BULKHEAD_BUILD_CARGO
# Nested builds are part of the measured one.
[ -z "${BULKHEAD_BUILD_MEASURED-}" ] || exec "$real" "$@"
export BULKHEAD_BUILD_MEASURED=1
arguments=()
for argument in "$@"; do
  [ "$argument" != -- ] || [ "$1" = clippy ] || break
  arguments+=("$argument")
done
case "$*" in
  "nextest run"*) set -- "${arguments[@]}" --no-run --timings ;;
  test*) set -- "${arguments[@]}" --no-run --timings ;;
  clippy*) set -- clippy --timings "${@:2}" ;;
  build* | doc*) set -- "$@" --timings ;;
  install*) ;;
  *) exec "$real" "$@" ;;
esac
TIMEFORMAT='%U %S %R'
page=${CARGO_TARGET_DIR:-target}/cargo-timings/cargo-timing.html
rm -f "$page"
{ time "$real" "$@" 1>&3 2>&4; } 3>&1 4>&2 2>"$BULKHEAD_BUILD_TIMES"
status=$?
python3 - "$page" "$BULKHEAD_BUILD_TIMES" "$*" >>"$BULKHEAD_BUILD_TABLE" <<'PYTHON'
import json, os, re, sys
page, times, command = sys.argv[1:]
user, system, wall = map(float, open(times).read().split()[-3:])
units = []
if os.path.exists(page):
    text = open(page).read()
    units = json.loads(re.search(r"UNIT_DATA = (\[.*?\]);\n", text, re.S).group(1))
print(f"cargo {command}\n  CPU {user + system:.0f} s, wall {wall:.0f} s, {len(units)} units")
for unit in sorted(units, key=lambda unit: -unit["duration"]):
    if unit["duration"] >= 10:
        print(f"  {unit['duration']:6.1f} s  {unit['name']} {unit['version']}{unit['target']}")
PYTHON
exit $status
SHIM
chmod +x "$work/bin/cargo"
BULKHEAD_BUILD_CARGO=$(command -v cargo)
export BULKHEAD_BUILD_CARGO BULKHEAD_BUILD_TIMES="$work/times" BULKHEAD_BUILD_TABLE="$work/table"
export PATH="$work/bin:$PATH"

for part in $which; do
  export CARGO_TARGET_DIR=$work/target-$part
  : >"$BULKHEAD_BUILD_TABLE"
  printf '\n== %s\n' "$part"
  case $part in
    server)
      # shellcheck disable=SC2086
      (cd "$work/source" && cargo build --release -p bulkhead --locked ${CARGO_ARGS-}) >"$work/log" 2>&1 ||
        { tail -n 30 "$work/log" >&2; exit 1; }
      ;;
    # The script fails at its end, because no test has run.
    tests) (cd "$work/source" && ./run_tests.sh) >"$work/log" 2>&1 || true ;;
  esac
  cat "$BULKHEAD_BUILD_TABLE"
  rm -rf "$CARGO_TARGET_DIR"
done
