#!/usr/bin/env bash
# Runs a command (or a shell) inside the cluster NAME: kubectl and helm on the PATH, KUBECONFIG set.
#   NAME=dev e2e/cluster/enter.sh kubectl get pods -A
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if (($# == 0)); then set -- bash; fi
in_cluster "$@"
