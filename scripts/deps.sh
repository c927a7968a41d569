#!/usr/bin/env bash
# Installs the distribution packages that are missing (Debian, Ubuntu; root needed), and checks for Rust and Go.
#   deps.sh [--check]      --check only says what is missing
set -euo pipefail

packages=(
  build-essential pkg-config ca-certificates git openssl procps util-linux jq                                  # building
  containerd runc containernetworking-plugins nftables iptables conntrack iproute2                             # the node
  buildah mmdebstrap busybox-static debian-archive-keyring                                                     # images
  shellcheck                                                                                                   # lint
  postgresql                                                                                                   # behind Vault's database engine
)
# A Python with venv and pip may come from elsewhere than the distribution.
python3 -c 'import venv, ensurepip' 2>/dev/null && python3 -m pip --version >/dev/null 2>&1 || packages+=(python3 python3-venv python3-pip)

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "missing packages: ${missing[*]}"
  if [[ ${1:-} == --check ]]; then exit 1; fi
  ((EUID == 0)) || { echo "error: run as root: apt-get install ${missing[*]}" >&2; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Nothing that a package starts as a service is wanted: every program runs in the test cluster's namespaces.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

failed=
command -v cargo >/dev/null || { echo "error: Rust is missing: install rustup, rust-toolchain.toml names the version" >&2; failed=1; }
command -v go >/dev/null || { echo "error: Go 1.26 or newer is missing (it builds the test cluster)" >&2; failed=1; }
[[ -z $failed ]] || exit 1
echo "all dependencies are there: $(cargo --version), $(go version | cut -d' ' -f3), $(python3 --version)"
