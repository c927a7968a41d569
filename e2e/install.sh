#!/usr/bin/env bash
# Installs Exeat into the cluster NAME by its chart, with the images tagged VERSION (default: dev) that are loaded there, or
# upgrades it. The keys of backends that run become Secrets for providers: exeat-system/ministack, exeat-system/minio, exeat-system/openbao,
# exeat-system/entra. A story has one more, with a key that no backend knows.
#   install.sh [HELM ARGUMENT...]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster/lib.sh"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=${VERSION:-dev}

# Another image under the same tag must replace the pods.
digest_of() { ctr images ls "name==docker.io/exeat/$1:$version" | awk 'NR == 2 { print substr($3, 8, 12) }'; }
arguments=(--set "image.tag=$version" --set "clusterName=$NAME" --set "issuer.providerSecrets={ministack,minio,openbao,entra,e2e-badkey}")
for program in controller:operator issuer:operator webhook:webhook; do
  digest=$(digest_of "${program#*:}")
  [[ -n $digest ]] || fail "image exeat/${program#*:}:$version is not loaded: run NAME=$NAME e2e/images/project.sh dev --load"
  arguments+=(--set-string "${program%:*}.podAnnotations.exeat\\.test/image=$digest")
done

step "installing Exeat"
helm upgrade --install exeat "$root/charts/exeat" --namespace exeat-system --create-namespace --wait --timeout 3m \
  "${arguments[@]}" "$@" >/dev/null

for backend in ministack minio; do
  keys=$RUN/backends/$backend.env
  [[ -r $keys ]] || continue
  (
    # shellcheck disable=SC1090  # written by backends/seed.py
    source "$keys"
    printf '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "%s", "namespace": "exeat-system"}, "stringData": {"accessKeyID": "%s", "secretAccessKey": "%s"}}' \
      "$backend" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
  ) | kubectl apply --server-side --force-conflicts -f - >/dev/null
done
for backend in openbao entra; do
  [[ -r $RUN/backends/$backend.env ]] || continue
  kubectl -n exeat-system create secret generic "$backend" --from-env-file="$RUN/backends/$backend.env" --dry-run=client -o yaml |
    kubectl apply --server-side --force-conflicts -f - >/dev/null
done
step "Exeat is installed"
