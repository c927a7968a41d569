#!/usr/bin/env bash
# Ends what up.sh started in the cluster NAME, and its data.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
if (($# == 0)); then set -- ministack minio openbao postgres entra; fi
for backend; do
  [[ -e $RUN/backends/$backend.pid ]] || continue
  # shellcheck disable=SC2016  # expanded by the inner shell
  in_cluster bash -c 'source "$1/lib.sh"; stop_pid "$RUN/backends/$2.pid"' _ "$cluster_dir" "$backend"
  rm -rf "${RUN:?}/backends/$backend".* "$RUN/backends/$backend"-*
  [[ $backend != postgres ]] || rm -rf "${RUN:?}/postgres"
done
