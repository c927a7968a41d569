#!/usr/bin/env bash
# Fills the Krew manifest in for a release whose archives are in a folder, and prints it.
#   release.sh VERSION FOLDER BASE_URL HOMEPAGE
# FOLDER holds kubectl-exeat-VERSION-linux-{amd64,arm64}.tar.gz, which are published below BASE_URL.
set -euo pipefail

if (($# != 4)); then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
version=$1 folder=$2 base=$3 homepage=$4
[[ $base == https://* && $homepage == https://* ]] || { echo "BASE_URL and HOMEPAGE are https URLs" >&2; exit 2; }

sum() {
  local archive=$folder/kubectl-exeat-$version-linux-$1.tar.gz
  [[ -f $archive ]] || { echo "$archive is missing" >&2; return 1; }
  sha256sum "$archive" | cut -d' ' -f1
}
amd64=$(sum amd64)
arm64=$(sum arm64)

manifest=$(<"$(dirname "${BASH_SOURCE[0]}")/exeat.yaml")
manifest=${manifest//'{{VERSION}}'/$version}
manifest=${manifest//'{{BASE_URL}}'/$base}
manifest=${manifest//'{{HOMEPAGE}}'/$homepage}
manifest=${manifest//'{{SHA256_LINUX_AMD64}}'/$amd64}
manifest=${manifest//'{{SHA256_LINUX_ARM64}}'/$arm64}
# The comment is about the template.
sed 1d <<<"$manifest"
