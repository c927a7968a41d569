#!/usr/bin/env bash
# Builds kubectl-exeat for CARGO_BUILD_TARGET (by default the host's), its archive, and the Krew manifest of all archives of this version
# in target/krew: bring those of other machines there, and run it last.
#   BASE_URL=https://… HOMEPAGE=https://… build.sh
set -euo pipefail
: "${BASE_URL:?say below which https URL the archives are published}" "${HOMEPAGE:?say which https URL the plugin is at home at}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET
target=${CARGO_TARGET_DIR:-$root/target}
version=$(cargo pkgid --locked -p exeat-cli)
version=${version##*[#@]}
scripts/build-release.sh -p exeat-cli
cli/krew/archive.sh "$target/$CARGO_BUILD_TARGET/release/kubectl-exeat" "$CARGO_BUILD_TARGET" "$version" "$target/krew"
cli/krew/release.sh "$version" "$target/krew" "$BASE_URL" "$HOMEPAGE" >"$target/krew/exeat.yaml.tmp"
mv "$target/krew/exeat.yaml.tmp" "$target/krew/exeat.yaml"
echo "$target/krew/exeat.yaml"
