#!/usr/bin/env bash
# Installs the backends' Python side once, pinned by hash, builds MinIO and fetches Google's discovery documents if they are asked for (no
# argument: all). Prints the venv's folder.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (($# == 0)) || [[ " $* " == *" minio "* ]]; then "$cluster_dir/build.sh" backends >/dev/null; fi

fetch_google_api() { # into CACHE/google-api-VERSION: a module of Go carries them
  local folder=$CACHE/google-api-$GOOGLE_API module
  [[ ! -e $folder/.complete ]] || return 0
  step "fetching Google's discovery documents"
  module=$(cd / && GOFLAGS=-mod=mod go mod download -json "google.golang.org/api@$GOOGLE_API")
  grep -qF "\"Sum\": \"$GOOGLE_API_SUM\"" <<<"$module" || fail "google.golang.org/api@$GOOGLE_API is not the module that it was"
  module=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$module")
  mkdir -p "$folder"
  install -m 644 "$module"/{iamcredentials,sts}/v1/*-api.json "$folder"
  touch "$folder/.complete"
}
if (($# == 0)) || [[ " $* " == *" gcp "* ]]; then fetch_google_api; fi

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
