#!/usr/bin/env bash
# Starts the stand-ins for a cloud inside the cluster NAME and fills them: MiniStack (STS, IAM, S3), MinIO (STS, S3), a real OpenBao with
# a real PostgreSQL behind its database engine, and a stand-in for Entra ID.
#   up.sh [ministack] [minio] [postgres openbao] [entra]     all by default; running ones are left alone
# What clients need is in RUN/backends/BACKEND.env (seed.py, seed_vault.py and entra.py say what is in them).
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

# As the user that the distribution's package has made: PostgreSQL refuses to run as root.
start_postgres() {
  local bin data=$RUN/postgres
  bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
  [[ -x $bin/initdb ]] || fail "PostgreSQL is missing: run 'make deps'"
  chmod o+x "$RUN"
  rm -rf "${data:?}"; install -d -o postgres -m 700 "$data"
  (umask 077; openssl rand -hex 20 >"$state/postgres-root"); install -o postgres -m 600 "$state/postgres-root" "$data.password"
  setpriv --reuid postgres --regid postgres --clear-groups "$bin/initdb" --pgdata="$data" --auth=scram-sha-256 --username=exeat-root \
    --pwfile="$data.password" --no-sync >/dev/null
  rm -f "$data.password"
  echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
  launch postgres setpriv --reuid postgres --regid postgres --clear-groups "$bin/postgres" -D "$data" -h "$NODE_IP" -p "$POSTGRES_PORT" -k "$data" \
    -c fsync=off
  wait_for PostgreSQL 60 answers "$POSTGRES_PORT" || { tail -n 20 "$RUN/logs/postgres.log" >&2; return 1; }
  printf 'PGHOST=%s\nPGPORT=%s\n' "$NODE_IP" "$POSTGRES_PORT" >"$state/postgres.env"
}

# An authority of its own, openbao-ca.pem, and a listener with a certificate of it.
openbao_tls() {
  local new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  (
    umask 077; cd "$state"
    "${new[@]}" -x509 -days 7 -subj "/CN=authority of the tests" -keyout openbao-ca.key -out openbao-ca.pem
    "${new[@]}" -subj "/CN=openbao" -keyout openbao-tls.key -out openbao-tls.csr
    openssl x509 -req -in openbao-tls.csr -CA openbao-ca.pem -CAkey openbao-ca.key -set_serial 1 -days 7 \
      -extfile <(echo "subjectAltName=IP:$NODE_IP") -out openbao-tls.pem
    printf 'listener "tcp" {\n  address = "%s"\n  tls_cert_file = "%s"\n  tls_key_file = "%s"\n}\n' \
      "$NODE_IP:$OPENBAO_TLS_PORT" "$state/openbao-tls.pem" "$state/openbao-tls.key" >openbao-tls.hcl
  ) 2>"$RUN/logs/openbao-tls.log"
}

start_openbao() {
  (umask 077; openssl rand -hex 20 >"$state/openbao-root")
  openbao_tls || { tail -n 20 "$RUN/logs/openbao-tls.log" >&2; return 1; }
  launch openbao env BAO_DEV_ROOT_TOKEN_ID="$(cat "$state/openbao-root")" BAO_DEV_LISTEN_ADDRESS="$NODE_IP:$OPENBAO_PORT" HOME="$state" \
    "$(dirname "$python")/bao" server -dev -dev-no-store-token -config="$state/openbao-tls.hcl"
  wait_for OpenBao 60 answers "$OPENBAO_PORT" || { tail -n 20 "$RUN/logs/openbao.log" >&2; return 1; }
}

# Its certificate is of a root of its own, RUN/backends/entra-ca.crt.
start_entra() {
  (
    umask 077; cd "$state"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout entra-ca.key -out entra-ca.crt -subj /CN=entra-root -days 30
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout entra-tls.key -out entra-tls.csr -subj /CN=entra
    openssl x509 -req -in entra-tls.csr -CA entra-ca.crt -CAkey entra-ca.key -CAcreateserial -days 30 -out entra-tls.crt \
      -extfile <(printf 'subjectAltName=IP:%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "$NODE_IP")
  ) 2>/dev/null
  launch entra "$python" "$here/entra.py" "$NODE_IP" "$ENTRA_PORT" "$ENTRA_SERVICES_PORT" "$state"
  wait_for Entra 60 test -s "$state/entra.env" || { tail -n 20 "$RUN/logs/entra.log" >&2; return 1; }
}

if (($# == 0)); then set -- ministack minio postgres openbao entra; fi
for backend; do
  if ! running "$backend"; then
    # What an ended one has left is of no use: MiniStack keeps everything in memory.
    rm -rf "${state:?}/$backend".* "$state/$backend"-*
    "start_$backend"
  fi
  if [[ ! -e $state/$backend.env ]]; then
    case $backend in
      openbao) in_cluster "$python" "$here/seed_vault.py" "$state" ;;
      *) in_cluster "$python" "$here/seed.py" "$backend" "$state" ;;
    esac
  fi
  step "$backend is up"
done
