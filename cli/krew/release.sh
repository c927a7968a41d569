#!/usr/bin/env bash
# Fills the Krew manifest in for a release whose archives (archive.sh) are in a folder, and prints it.
#   release.sh VERSION FOLDER BASE_URL HOMEPAGE
# The archives are published below BASE_URL. The manifest lists the platforms whose archives are there, and no other.
set -euo pipefail

if (($# != 4)); then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
version=$1 folder=$2 base=${3%/} homepage=$4
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || { echo "VERSION is a semantic version: 1.2.3" >&2; exit 2; }
[[ $base == https://* && $homepage == https://* ]] || { echo "BASE_URL and HOMEPAGE are https URLs" >&2; exit 2; }

platforms=
for platform in linux-amd64 linux-arm64; do
  archive=kubectl-exeat-$version-$platform.tar.gz
  [[ -f $folder/$archive ]] || continue
  sum=$(sha256sum "$folder/$archive" | cut -d' ' -f1)
  platforms+="
    - selector: {matchLabels: {os: ${platform%-*}, arch: ${platform#*-}}}
      uri: \"$base/$archive\"
      sha256: \"$sum\"
      bin: kubectl-exeat"
done
[[ $platforms ]] || { echo "there is no archive kubectl-exeat-$version-*.tar.gz in $folder" >&2; exit 1; }

manifest=$(<"$(dirname "${BASH_SOURCE[0]}")/exeat.yaml")
manifest=${manifest//'{{VERSION}}'/"$version"}
manifest=${manifest//'{{HOMEPAGE}}'/"$homepage"}
# The first line is about the template.
sed 1d <<<"${manifest/'{{PLATFORMS}}'/"$platforms"}"
