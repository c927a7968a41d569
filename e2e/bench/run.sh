#!/usr/bin/env bash
# The benchmarks: release builds, each figure beside what it is compared with. Writes target/bench/results.json, prints tables.
#   run.sh [sidecar|webhook|pods|stop|fairness|exposure|approvals]...      all by default; the sidecar's part needs no cluster
#   BENCH_ROUNDS=3 BENCH_SECONDS=10 BENCH_PODS=10 STOP_ONE=20 STOP_MANY=1000 FAIR_NAMESPACES=50 FAIR_ROUNDS=4 FAIR_SECONDS=60 EXPOSURE_SAMPLES=20 BENCH_APPROVALS=10
#   BENCH_DECISIONS=200
#   BENCH_PROFILE=dev      debug builds, to try a part out
# The cluster NAME (default: bench) is started and ended; one that runs already is used and left as it is, with our chart upgraded.
set -euo pipefail
NAME=${NAME:-bench} VERSION=bench
export NAME VERSION PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$here/../cluster/lib.sh"
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$here/lib.sh"
root=$(cd "$here/../.." && pwd)
cd "$root"
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET
target=${CARGO_TARGET_DIR:-$root/target}
profile=${BENCH_PROFILE:-release} folder=release
if [[ $profile == dev ]]; then folder=debug; fi
binaries=$target/$CARGO_BUILD_TARGET/$folder
declare -A parts=()
for part in "${@:-all}"; do
  case $part in
    all) parts=([sidecar]=1 [webhook]=1 [pods]=1 [stop]=1 [fairness]=1 [exposure]=1 [approvals]=1) ;;
    sidecar | webhook | pods | stop | fairness | exposure | approvals) parts[$part]=1 ;;
    *) fail "usage: run.sh [sidecar|webhook|pods|stop|fairness|exposure|approvals]..." ;;
  esac
done

((EUID == 0)) || fail "root is needed: network namespaces, the test cluster"
if ! command -v wrk >/dev/null; then
  step "installing wrk"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wrk >/dev/null
fi
mkdir -p "$target/bench"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-bench.XXXXXX")
results=$work/lines; : >"$results"
ours='' stealing=''
finish() {
  local status=$?
  trap - EXIT INT TERM
  if [[ -n $stealing ]]; then kill "$stealing" 2>/dev/null || true; fi
  if ((status)) && [[ -n $ours ]]; then cluster_dump | tail -n 100 >&2 || true; fi
  if [[ -n $ours ]]; then "$cluster_dir/down.sh" || status=1; fi
  if ((status)); then tail -n 5 "$work"/*.log 2>/dev/null >&2 || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# On a machine that does something else the figures tell of that.
quiet() { awk '{ exit !($1 < 1) }' /proc/loadavg; }
settle() { wait_for "a load average below 1" "${BENCH_SETTLE:-120}" quiet >/dev/null 2>&1 || note "the machine is busy: load average $(cut -d' ' -f1 /proc/loadavg)"; }
machine() {
  jq -nc --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg kernel "$(uname -sr)" --argjson cores "$(nproc)" \
    --argjson memory "$(awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo)" --arg commit "$(git rev-parse --short HEAD 2>/dev/null)" \
    --arg date "$(date -u +%FT%TZ)" --argjson load "$(cut -d' ' -f1 /proc/loadavg)" \
    '{cpu: $cpu, cores: $cores, memory_bytes: $memory, kernel: $kernel, commit: $commit, date: $date, load_average_before: $load}'
}

archives=$(e2e/images/project.sh "$profile")
mapfile -t archives <<<"$archives"
step "building the servers to compare with"
# Apart from the others, whose features would change them.
cargo build --locked --profile "$profile" -p exeat-bench >&2
jq -nc --argjson binary "$(stat -c %s "$binaries/exeat-sidecar")" --argjson archive "$(stat -c %s "$target/images/exeat-sidecar-$VERSION.tar")" \
  '{binary: $binary, archive: $archive}' | record part=size

settle
machine | record part=machine
if [[ -n ${parts[sidecar]:-} ]]; then
  step "the sidecar, beside a bare axum handler"
  timeout 600 unshare --net "$here/sidecar.sh" "$work" "$binaries/exeat-sidecar" "$binaries/exeat-bench" "$results"
fi

needs_cluster=${parts[webhook]:-}${parts[pods]:-}${parts[stop]:-}${parts[fairness]:-}${parts[exposure]:-}${parts[approvals]:-}
if [[ -n $needs_cluster ]]; then
  if ! cluster_alive; then ours=1; "$cluster_dir/up.sh"; fi
  e2e/images/load.sh
  e2e/images/load.sh "${archives[@]}"
  if [[ -n ${parts[exposure]:-} ]]; then e2e/backends/up.sh; fi
  e2e/install.sh
  for sample in rbac provider policy; do
    kubectl apply --server-side --force-conflicts -f "config/samples/$sample-kubernetes.yaml" >/dev/null
  done
  kubectl -n agents wait --for=condition=Ready agentcredentialpolicy/pod-reader --timeout=90s >/dev/null
  settle
fi
if [[ -n ${parts[webhook]:-} ]]; then
  step "the webhook, beside a bare axum server behind TLS"
  in_cluster timeout 900 "$here/webhook.sh" "$work" "$binaries/exeat-webhook" "$binaries/exeat-bench" "$results"
fi
if [[ -n ${parts[pods]:-} ]]; then
  settle
  step "from a pod's creation to its first credential"
  in_cluster timeout 1800 python3 "$here/pods.py" "${BENCH_PODS:-10}" "$results"
fi
if [[ -n ${parts[exposure]:-} ]]; then
  step "how long stolen credentials work: those of AWS's stand-ins take a quarter of an hour and run beside what follows"
  python=$(e2e/backends/install.sh)/bin/python3
  in_cluster timeout 1800 "$python" "$here/exposure.py" aws "$work" "$results" &
  stealing=$!
  in_cluster timeout 900 python3 "$here/exposure.py" kubernetes "$work" "$results"
fi
if [[ -n ${parts[approvals]:-} ]]; then
  settle
  step "from an approval to the first credential, and decisions a second"
  in_cluster timeout 1200 python3 "$here/approvals.py" "$results"
fi
if [[ -n ${parts[stop]:-} ]]; then
  settle
  step "from a write that ends sessions to the last served credential"
  in_cluster timeout 3600 python3 "$here/stop.py" "$binaries/exeat-bench" "$work" "$results"
fi
if [[ -n ${parts[fairness]:-} ]]; then
  settle
  step "what one noisy namespace costs the others"
  in_cluster timeout 3600 "$here/fairness.sh" "$work" "$binaries/exeat-bench" "$results"
fi
if [[ -n $stealing ]]; then
  step "waiting for the end of the last stolen credential"
  wait "$stealing"
  stealing=
fi

python3 "$here/report.py" "$results" "$target/bench/results.json"
printf '\n'
step "all figures: $target/bench/results.json"
