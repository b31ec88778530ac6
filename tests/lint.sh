#!/usr/bin/env bash
# Lints and documents one crate of the workspace: cargo calls it in place of the compiler.
#   RUSTC_WORKSPACE_WRAPPER=$PWD/tests/lint.sh cargo build --release --all-targets
# Each crate sees its dependencies as the release build has made them. `cargo clippy` and `cargo doc` would check every
# dependency once more, which takes minutes. Warnings are errors. No program or test is made: where cargo expects one,
# there is an empty file, so that run_tests.sh gives cargo another folder for results.
set -eu
compiler=$1
shift
name="" kind="" out="" suffix="" test=""
for ((at = 1; at <= $#; at++)); do
  next=$((at + 1))
  case ${!at} in
    --crate-name) name=${!next} ;;
    --crate-type) kind=${!next} ;;
    --out-dir) out=${!next} ;;
    --test) test=yes ;;
    extra-filename=*) suffix=${!at#*=} ;;
  esac
done
# Cargo asks the compiler who it is.
if [ -z "$out" ]; then exec "$compiler" "$@"; fi

lint() { clippy-driver "$compiler" "$@" -C opt-level=0 -D warnings; }
if [[ $name == build_script_* ]]; then
  # Cargo runs it.
  lint "$@"
  exit
elif [ -z "$test" ] && [ "$kind" != bin ]; then
  # Other crates link it, if only a build script does.
  lint "$@"
else
  lint "${@/#--emit=*/--emit=dep-info,metadata}"
  : >"$out/$name$suffix"
fi
[ -z "$test" ] || exit 0

# The arguments that rustdoc and the compiler share.
document=()
while (($# > 0)); do
  case $1 in
    --crate-name | --crate-type | --cfg | --check-cfg | --extern | -L)
      document+=("$1" "$2")
      shift
      ;;
    --edition=* | --error-format=* | --json=* | --color=* | *.rs) document+=("$1") ;;
  esac
  shift
done
rustdoc "${document[@]}" --document-private-items -D warnings -A rustdoc::private-intra-doc-links \
  --out-dir "${CARGO_TARGET_DIR:-target}/doc"
