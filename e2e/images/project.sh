#!/usr/bin/env bash
# Builds the project's images from binaries that cargo builds here, into archives: target/images/exeat-{operator,webhook,sidecar}-VERSION.tar
#   project.sh dev|release [--load]      VERSION (default: dev) is the tag; --load imports them into the cluster NAME
# EXEAT_IMAGES="sidecar" builds some of them only; EXEAT_PROGRAMS="cli" builds what is in no image along with them (dev). A release also writes, beside each archive, the image as an OCI archive
# (-VERSION.oci.tar), whose digest a registry keeps, and its bill of materials (-VERSION.cdx.json); and the digests of all as values
# of the chart: digests-VERSION.yaml.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=${VERSION:-dev}
case ${1:-dev} in
  dev) profile=dev folder=debug ;;
  release) profile=release folder=release ;;
  *) fail "usage: project.sh dev|release [--load]" ;;
esac

cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
# With a target named, what the static linking needs does not reach build scripts and proc macros.
export CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
step "building the project's binaries ($profile)"
read -ra images <<<"${EXEAT_IMAGES:-operator webhook sidecar}"
packages=()
for image in "${images[@]}"; do packages+=(-p "exeat-$image"); done
for program in ${EXEAT_PROGRAMS:-}; do packages+=(-p "exeat-$program"); done
if [[ $profile == release ]]; then
  # Built alone the sidecar gets by with fewer features of its dependencies: 1 MB less on disk, half a MiB less in memory.
  others=()
  for image in "${images[@]}"; do [[ $image == sidecar ]] || others+=(-p "exeat-$image"); done
  if ((${#others[@]})); then scripts/build-release.sh "${others[@]}" >&2; fi
  if [[ " ${images[*]} " == *" sidecar "* ]]; then scripts/build-release.sh -p exeat-sidecar >&2; fi
else
  # Where the tests are built anyway, one build of all serves both: each choice of packages has features of its own.
  if [[ -n ${EXEAT_BUILD_ALL:-} ]]; then packages=(--workspace --all-targets --features exeat-e2e/cluster); fi
  cargo build --locked --profile "$profile" "${packages[@]}" >&2
fi

programs_of() { if [[ $1 == operator ]]; then echo exeat-controller exeat-issuer; else echo "exeat-$1"; fi; }
bill_of() { # the bill of materials of an image
  local image=$1 arguments=() program
  for program in $(programs_of "$image"); do arguments+=(--file "$tmp/build/out/$program"); done
  if [[ $image == operator ]]; then arguments+=(--file "$tmp/build/out/ca-certificates.crt"); fi
  case $image in operator) arguments+=(--beside exeat-webhook) ;; webhook) arguments+=(--beside exeat-operator) ;; esac
  scripts/sbom.py --image "exeat/$image" --version "$version" --target "$CARGO_BUILD_TARGET" "${arguments[@]}" "exeat-$image"
}

tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-image.XXXXXX")
# Overlay storage leaves a bind mount of itself behind.
trap 'umount -l "$tmp/root/overlay" 2>/dev/null || true; rm -rf --one-file-system "$tmp"' EXIT
mkdir -p "$tmp/build/out" "$target/images"
for program in $(for image in "${images[@]}"; do programs_of "$image"; done); do
  # Debug information is most of a debug binary, and no test reads it.
  strip -o "$tmp/build/out/$program" "$target/$CARGO_BUILD_TARGET/$folder/$program"
done
cp /etc/ssl/certs/ca-certificates.crt "$tmp/build/out/"

export STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot
archives=() digests=$target/images/digests-$version.yaml
if [[ $profile == release ]]; then : >"$digests"; fi
for image in "${images[@]}"; do
  name=exeat/$image:$version archive=$target/images/exeat-$image-$version.tar
  # An empty context: everything comes from the stand-in for the build stage.
  mkdir -p "$tmp/context"
  buildah --root "$tmp/root" --runroot "$tmp/run" bud -q --timestamp 0 --build-arg TARGETARCH= -f "$root/Dockerfile" --build-context "build=$tmp/build" \
    --target "$image" -t "docker.io/$name" "$tmp/context" >/dev/null
  rm -f "$archive"
  buildah --root "$tmp/root" --runroot "$tmp/run" push -q "docker.io/$name" "docker-archive:$archive:$name"
  archives+=("$archive")
  step "$name: $(du -h "$archive" | cut -f1)"
  if [[ $profile == release ]]; then
    buildah --root "$tmp/root" --runroot "$tmp/run" push -q --format oci --digestfile "$tmp/digest" "docker.io/$name" \
      "oci-archive:$tmp/oci.tar:$name"
    # Packed again: buildah's archive tells when it was packed.
    mkdir "$tmp/oci-$image" && tar -x -C "$tmp/oci-$image" -f "$tmp/oci.tar" && rm "$tmp/oci.tar"
    tar -c --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=a=rX -C "$tmp/oci-$image" -f "${archive%.tar}.oci.tar" .
    printf '%s: {image: {digest: "%s"}}\n' "$image" "$(<"$tmp/digest")" >>"$digests"
    bill_of "$image" >"${archive%.tar}.cdx.json"
    step "exeat/$image@$(<"$tmp/digest"), $(jq '.components | length' "${archive%.tar}.cdx.json") components"
  fi
done
if [[ ${2:-} == --load ]]; then "$root/e2e/images/load.sh" "${archives[@]}"; else printf '%s\n' "${archives[@]}"; fi
