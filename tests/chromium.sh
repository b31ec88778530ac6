#!/usr/bin/env bash
# Prints the path of Chromium or Chrome for the tests with a browser, for BULKHEAD_TEST_CHROMIUM. If there is none, a
# pipeline (the variable CI is set) installs Debian's package, as root or with sudo.
#   tests/chromium.sh
set -eu

find_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" && return
  done
  return 1
}

install_browser() {
  local root=()
  [ -n "${CI-}" ] && command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
    root=(sudo -n)
  fi
  echo "installing Chromium" >&2
  {
    "${root[@]}" apt-get update -qq &&
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends chromium
  } >&2
}

find_browser || { install_browser && find_browser; } || {
  echo "Chromium is missing: install the package chromium" >&2
  exit 1
}
