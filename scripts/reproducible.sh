#!/usr/bin/env bash
# Builds the images twice from this commit, in different folders and under another name of cargo's home, and compares what comes out.
#   reproducible.sh [operator|webhook|sidecar]...      all by default; root (buildah)
# REPRODUCIBLE_KEEP=FOLDER keeps both builds there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
if (($# == 0)); then set -- operator webhook sidecar; fi
work=${REPRODUCIBLE_KEEP:-$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-reproducible.XXXXXX")}
[[ -n ${REPRODUCIBLE_KEEP:-} ]] || trap 'rm -rf "$work"' EXIT

build() { # build FOLDER CARGO_HOME IMAGE...
  local folder=$1 home=$2; shift 2
  mkdir -p "$folder"
  git archive HEAD | tar -x -C "$folder"
  (cd "$folder" && CARGO_TARGET_DIR=$folder/target CARGO_HOME=$home VERSION=reproducible EXEAT_IMAGES="$*" e2e/images/project.sh release) >/dev/null
}

home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$work/home"
for entry in "$home"/*; do ln -sfn "$entry" "$work/home/$(basename "$entry")"; done
build "$work/one" "$home" "$@"
build "$work/another/and/deeper" "$work/home" "$@"

sums() { (cd "$1/target/images" && sha256sum -- *.tar *.json *.yaml); }
if diff <(sums "$work/one") <(sums "$work/another/and/deeper"); then
  sums "$work/one"
  echo "the same twice: $*"
else
  echo "error: two builds of one commit differ" >&2
  exit 1
fi
