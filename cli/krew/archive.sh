#!/usr/bin/env bash
# Packs a built kubectl-exeat as Krew installs it, the same bytes from the same program, and prints the archive's path.
#   archive.sh PROGRAM TRIPLE VERSION FOLDER
# TRIPLE is what the program was built for: x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu.
set -euo pipefail

if (($# != 4)); then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
program=$1 triple=$2 version=$3 folder=$4
case $triple in
  x86_64-*-linux-*) platform=linux-amd64 ;;
  aarch64-*-linux-*) platform=linux-arm64 ;;
  *) echo "$triple: archives are made for Linux on amd64 and arm64" >&2; exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-krew.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
files=(kubectl-exeat)
install -m 755 "$program" "$tmp/kubectl-exeat"
# Krew's own index takes archives with the licence only.
if [[ -f $root/LICENSE ]]; then
  install -m 644 "$root/LICENSE" "$tmp/LICENSE"
  files+=(LICENSE)
fi
mkdir -p "$folder"
archive=$folder/kubectl-exeat-$version-$platform.tar.gz
tar -c --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$tmp" -- "${files[@]}" | gzip -n >"$archive"
echo "$archive"
