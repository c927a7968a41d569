# shellcheck shell=bash
# Helpers for everything that runs on a test cluster: source this file. NAME picks the cluster (default: dev).

NAME=${NAME:-dev}
RUN=${EXEAT_RUN_DIR:-/var/tmp/exeat-$NAME}
cluster_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The node's address and everything around it: the benchmark range 198.18.0.0/15 clashes with no real network.
# shellcheck disable=SC2034  # used by the scripts that source this file
{
  CACHE=${EXEAT_CACHE:-$HOME/.cache/exeat}
  NODE_NAME=node1
  NODE_IP=198.18.0.1
  POD_CIDR=198.18.128.0/20
  SERVICE_CIDR=198.19.0.0/24
  API_IP=198.19.0.1
  DNS_IP=198.19.0.10
  MINISTACK_PORT=4577
  MINIO_PORT=9010
  OPENBAO_PORT=8210
  OPENBAO_TLS_PORT=8211
  POSTGRES_PORT=5544
  ENTRA_PORT=8310
  ENTRA_SERVICES_PORT=8311
}

step() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }
note() { printf '        %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# wait_for WHAT SECONDS COMMAND...: runs the command until it succeeds; fails once the time is over, with the command's last words,
# or sooner if the script has a function give_up that says so.
wait_for() {
  local what=$1 seconds=$2 end out; shift 2
  end=$((SECONDS + seconds))
  until out=$("$@" 2>&1 </dev/null); do
    if ((SECONDS >= end)) || { declare -F give_up >/dev/null && give_up; }; then
      printf 'error: %s: not there after %s s\n' "$what" "$((SECONDS - end + seconds))" >&2
      [[ -z $out ]] || tail -n 15 <<<"$out" | sed 's/^/        /' >&2
      return 1
    fi
    sleep 0.3
  done
}

# A PID file holds the PID and the process's start time: a PID used again by another program is never taken for ours.
# PIDs in RUN/pids are those of the cluster's PID namespace, the one in RUN/node.pid is the machine's.
start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  echo "${fields[19]}"
}
write_pid() { printf '%s %s\n' "$2" "$(start_time "$2")" >"$1"; }
read_pid() { # prints the PID if that very process still runs
  local pid began
  [[ -r $1 ]] && read -r pid began <"$1" || return 1
  [[ -n $began && $(start_time "$pid") == "$began" ]] && echo "$pid"
}
stop_pid() { # stop_pid FILE [SECONDS]: asks, waits, then insists
  local pid end=$((SECONDS + ${2:-10}))
  pid=$(read_pid "$1") || { rm -f "$1"; return 0; }
  kill "$pid" 2>/dev/null || true
  while read_pid "$1" >/dev/null && ((SECONDS < end)); do sleep 0.1; done
  if read_pid "$1" >/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
  rm -f "$1"
}

# in_cluster COMMAND...: runs it in the cluster's network, mount and PID namespaces, with its programs (and those that somebody put into
# RUN/plugins) and admin kubeconfig.
in_cluster() {
  local pid
  if [[ ${EXEAT_INSIDE:-} == "$RUN" ]]; then "$@"; return; fi
  pid=$(read_pid "$RUN/node.pid") || { echo "error: cluster $NAME is not running (start it with NAME=$NAME e2e/cluster/up.sh)" >&2; return 1; }
  # nsenter changes the directory, and a proxy of the outer machine is out of reach in there.
  # shellcheck disable=SC2016  # expanded by the inner shell
  nsenter -t "$pid" -n -m -p env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u http_proxy -u https_proxy -u all_proxy \
    NAME="$NAME" EXEAT_RUN_DIR="$RUN" EXEAT_INSIDE="$RUN" KUBECONFIG="$RUN/admin.kubeconfig" PATH="$RUN/bin:$RUN/plugins:$PATH" \
    bash -c 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"' enter "$PWD" "$@"
}

if [[ ${EXEAT_INSIDE:-} != "$RUN" ]]; then
  kubectl() { in_cluster kubectl "$@"; }
  helm() { in_cluster helm "$@"; }
  ctr() { in_cluster ctr -a "$RUN/containerd.sock" -n k8s.io "$@"; }
fi

# cluster_alive: every program of the node runs and the node is Ready.
cluster_alive() { read_pid "$RUN/node.pid" >/dev/null && in_cluster "$cluster_dir/node.sh" --check >/dev/null 2>&1; }

# cluster_dump: what one wants to read after a failure.
cluster_dump() {
  read_pid "$RUN/node.pid" >/dev/null || { note "cluster $NAME is not running"; return 0; }
  {
    echo "--- pods"; kubectl get pods -A -o wide --request-timeout=10s
    echo "--- events (last 40)"; kubectl get events -A --sort-by=.lastTimestamp --request-timeout=10s | tail -n 40
    echo "--- exeat objects"
    kubectl get credentialproviders,agentcredentialpolicies,credentialsessions,approvals -A --request-timeout=10s | tail -n 40
    local pod
    for pod in $(kubectl -n exeat-system get pods -o name --request-timeout=10s); do
      echo "--- log of $pod (last 40 lines)"
      kubectl -n exeat-system logs "$pod" --all-containers --tail=40 --request-timeout=10s
    done
  } 2>&1 | cut -c1-400
}
