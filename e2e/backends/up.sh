#!/usr/bin/env bash
# Starts the stand-ins for a cloud inside the cluster NAME and fills them: MiniStack (STS, IAM, S3) and MinIO (STS, S3).
#   up.sh [ministack] [minio]     both by default; running ones are left alone
# What clients need is in RUN/backends/ministack.env and RUN/backends/minio.env (seed.py says what is in them).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/install.sh" "$@")/bin/python3

state=$RUN/backends
mkdir -p "$state"; chmod 700 "$state"

inside() { # inside CODE ARGUMENT...: a piece of shell in the cluster's namespaces, where the PIDs are those of RUN/backends
  local code=$1; shift
  in_cluster bash -c "source \"\$1/lib.sh\"; cd \"\$RUN/backends\"; shift; $code" _ "$cluster_dir" "$@"
}
# shellcheck disable=SC2016  # expanded by the inner shell
{
  running() { inside 'read_pid "$1.pid"' "$1" >/dev/null; }
  launch() { inside 'n=$1; shift; setsid "$@" >"$RUN/logs/$n.log" 2>&1 </dev/null & write_pid "$n.pid" $!' "$@"; }
}
answers() { in_cluster bash -c "exec 3<>/dev/tcp/$NODE_IP/$1"; }

start_ministack() {
  # Without IOT_MTLS_ENABLED=0 it listens on one more port, on every address.
  launch ministack env AUTH=true BIND_HOST="$NODE_IP" GATEWAY_PORT="$MINISTACK_PORT" SERVICES=iam,sts,s3 \
    IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 "$(dirname "$python")/ministack"
  wait_for MiniStack 60 answers "$MINISTACK_PORT" || { tail -n 20 "$RUN/logs/ministack.log" >&2; return 1; }
}

start_minio() {
  mkdir -p "$state/minio-data"
  # The root user's password lives as long as the run folder.
  [[ -s $state/minio-root ]] || (umask 077; openssl rand -hex 20 >"$state/minio-root")
  launch minio env MINIO_ROOT_USER=exeat-root MINIO_ROOT_PASSWORD="$(cat "$state/minio-root")" MINIO_BROWSER=off MINIO_UPDATE=off \
    "$("$cluster_dir/build.sh" --print backends)/minio" server --quiet --address "$NODE_IP:$MINIO_PORT" "$state/minio-data"
  wait_for MinIO 60 answers "$MINIO_PORT" || { tail -n 20 "$RUN/logs/minio.log" >&2; return 1; }
}

if (($# == 0)); then set -- ministack minio; fi
for backend; do
  if ! running "$backend"; then
    # What an ended one has left is of no use: MiniStack keeps everything in memory.
    rm -rf "${state:?}/$backend".* "$state/$backend"-*
    "start_$backend"
  fi
  if [[ ! -e $state/$backend.env ]]; then in_cluster "$python" "$here/seed.py" "$backend" "$state"; fi
  step "$backend is up"
done
