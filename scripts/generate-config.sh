#!/usr/bin/env bash
# Writes config/ from the chart with its default values, so that everything is written once: helm and kubectl -k install the same.
#   generate-config.sh [--check]     --check writes nothing, prints what is stale and fails
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check=
case ${1:-} in
  "") ;;
  --check) check=1 ;;
  *) echo "usage: generate-config.sh [--check]" >&2; exit 2 ;;
esac

helm=${HELM:-$(e2e/cluster/build.sh --print)/helm}
[[ -x $helm ]] || helm=$(e2e/cluster/build.sh)/helm

folders=(operator policies rbac uninstall webhook)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-config.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/default" "${folders[@]/#/$work/}"

# One file a template. What concerns Helm alone is left out, with the annotations that then are empty.
"$helm" template exeat charts/exeat --namespace exeat-system --kube-version 1.34.0 --set crds.install=false >"$work/rendered"
awk -v out="$work" '
  function flush_held() { if (held != "") { print held >>file; held = "" } }
  /^---$/ { file = ""; next }
  /^# Source: / {
    file = $3; sub("^exeat/templates/", "", file)
    if (file ~ "^crds/") { file = ""; next }
    if (file !~ "/") { file = "default/" file }
    file = out "/" file
    if (file in seen) { print "---" >>file } else { print "# Generated from charts/exeat by `make generate`. Do not edit." >>file }
    seen[file] = 1; next
  }
  file == "" { next }
  /^ +(helm\.sh\/(chart|hook|hook-weight|hook-delete-policy)|app\.kubernetes\.io\/managed-by): / { next }
  /^  annotations:$/ { held = $0; next }
  held != "" && !/^    / { held = "" }
  { flush_held(); print >>file }
' "$work/rendered"
rm "$work/rendered"
for folder in "${folders[@]}"; do
  {
    echo "# Generated from charts/exeat by \`make generate\`. Do not edit."
    echo "apiVersion: kustomize.config.k8s.io/v1beta1"
    echo "kind: Kustomization"
    echo "resources:"
    (cd "$work/$folder" && printf -- '  - %s\n' *.yaml)
  } >"$work/kustomization"
  mv "$work/kustomization" "$work/$folder/kustomization.yaml"
done

stale=()
while IFS= read -r path; do
  [[ -e $work/$path ]] && cmp -s "$work/$path" "config/$path" && continue
  stale+=("config/$path")
  [[ -z $check ]] || continue
  if [[ -e $work/$path ]]; then install -D -m 644 "$work/$path" "config/$path"; else rm "config/$path"; fi
done < <(
  { cd "$work" && find . -type f
    cd "$OLDPWD/config" && for folder in "${folders[@]}"; do [[ ! -d $folder ]] || find "./$folder" -type f; done
  } | sed 's|^\./||' | sort -u)

if [[ -n $check ]] && ((${#stale[@]})); then
  printf 'stale: %s\n' "${stale[@]}"
  echo "run make generate and commit the result"
  exit 1
fi
