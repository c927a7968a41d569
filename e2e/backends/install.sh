#!/usr/bin/env bash
# Installs the backends' Python side once, pinned by hash, and builds MinIO if it is asked for (no argument: both). Prints the venv's folder.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (($# == 0)) || [[ " $* " == *" minio "* ]]; then "$cluster_dir/build.sh" backends >/dev/null; fi

venv=$CACHE/venv/$({ python3 --version; cat "$here/requirements.txt"; } | sha256sum | cut -c1-16)
mkdir -p "$CACHE/venv"
exec 9>"$CACHE/venv/.lock"; flock 9
if [[ ! -e $venv/.complete ]]; then
  step "installing the backends' Python packages"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python3" -m pip install -q --disable-pip-version-check --require-hashes --only-binary=:all: -r "$here/requirements.txt" >&2
  touch "$venv/.complete"
fi
echo "$venv"
