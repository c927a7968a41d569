#!/usr/bin/env bash
# Builds the programs of the test cluster from their Go modules, once: a second run finds them in the cache.
#   build.sh [cluster|backends]           builds what is missing, then prints the folder that holds the programs
#   build.sh --print [cluster|backends]   only prints that folder
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${EXEAT_CACHE:-$HOME/.cache/exeat}/bin

kubernetes_version=1.34.4

only_print=
if [[ ${1:-} == --print ]]; then only_print=1; shift; fi
# "module package...", the slowest first: an interrupted run has then done most of the work.
case ${1:-cluster} in
  cluster) modules=(
    "kubernetes k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
      k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler
      k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-proxy"
    "etcd go.etcd.io/etcd/server/v3"
    "coredns ."
    "helm helm.sh/helm/v3/cmd/helm") ;;
  backends) modules=("minio github.com/minio/minio") ;;
  *) echo "usage: build.sh [--print] [cluster|backends]" >&2; exit 2 ;;
esac

# Without these the API server calls itself v0.0.0, and `helm template` renders for a Kubernetes v1.20.
ldflags_for() {
  local flags="-s -w" minor=${kubernetes_version#1.} at; minor=${minor%.*}
  case $1 in
    kubernetes)
      at=k8s.io/component-base/version
      flags+=" -X $at.gitVersion=v$kubernetes_version -X $at.gitMajor=1 -X $at.gitMinor=$minor -X $at.gitTreeState=clean" ;;
    helm)
      for at in pkg/chartutil pkg/lint/rules; do
        flags+=" -X helm.sh/helm/v3/$at.k8sVersionMajor=1 -X helm.sh/helm/v3/$at.k8sVersionMinor=$minor"
      done ;;
  esac
  printf '%s' "$flags"
}

program_name() {
  case $1:$2 in
    etcd:*) echo etcd ;;
    coredns:*) echo coredns ;;
    *) basename "$2" ;;
  esac
}

module_hash() { # of everything that decides what is built
  (cd "$here/src/$1" && shopt -s nullglob && { cat go.mod go.sum ./*.go; ldflags_for "$1"; } | sha256sum | cut -c1-16)
}

all_hash=$(for m in "${modules[@]}"; do module_hash "${m%% *}"; done | sha256sum | cut -c1-16)
all=$cache/$all_hash
# The folder appears when everything in it has been built.
if [[ -n $only_print || -e $all ]]; then echo "$all"; exit; fi

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock -n 9 || { echo "build.sh: another build is running, waiting for it" >&2; flock 9; }

links=$all.tmp
rm -rf "$links"; mkdir -p "$links"
for entry in "${modules[@]}"; do
  read -r -d '' -a words <<<"$entry" || true
  module=${words[0]}
  store=$cache/$module-$(module_hash "$module")
  mkdir -p "$store"
  for package in "${words[@]:1}"; do
    program=$(program_name "$module" "$package")
    if [[ ! -x $store/$program ]]; then
      echo "build.sh: building $program" >&2
      began=$SECONDS
      # Built under another name: an interrupted build never looks like a finished one.
      (cd "$here/src/$module" && CGO_ENABLED=0 go build -mod=readonly -trimpath \
        -ldflags "$(ldflags_for "$module")" -o "$store/.$program.tmp" "$package") 9>&-
      mv "$store/.$program.tmp" "$store/$program"
      echo "build.sh: built $program in $((SECONDS - began)) s" >&2
    fi
    ln -s "../$module-$(module_hash "$module")/$program" "$links/$program"
  done
done
rm -rf "$all"
mv "$links" "$all"
echo "$all"
