#!/usr/bin/env bash
# Starts the one-node cluster NAME (default: dev) in namespaces of its own. Running already: does nothing. Half dead: starts anew.
# EXEAT_RUN_DIR moves the run folder, EXEAT_AUDIT_POLICY names an API server audit policy (log: RUN/logs/audit.log).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

((EUID == 0)) || fail "root is needed: namespaces, mounts and cgroups"
for tool in unshare nsenter ip nft iptables conntrack openssl containerd runc ctr; do
  command -v "$tool" >/dev/null || fail "$tool is missing: run 'make deps'"
done
[[ -x /usr/lib/cni/bridge ]] || fail "the CNI plugins are missing: run 'make deps'"

mkdir -p "$(dirname "$RUN")" "$CACHE/locks"
exec 8>"$CACHE/locks/cluster-$NAME"
flock -w 300 8 || fail "another start of cluster $NAME takes too long"

if cluster_alive; then note "cluster $NAME is running already ($RUN)"; exit 0; fi
if [[ -e $RUN ]]; then step "cluster $NAME is half dead: removing it"; "$cluster_dir/down.sh"; fi

bin=$("$cluster_dir/build.sh")
mkdir -p "$RUN"/{logs,pids,pki,cni,etcd,volume-plugins,stray/upper,stray/work}
touch "$RUN/.exeat-cluster"
ln -s "$bin" "$RUN/bin"

step "starting cluster $NAME in $RUN"
# In a PID namespace of its own nothing outlives the node, whatever happens. Its first process does nothing but reap.
# shellcheck disable=SC2016  # expanded by the inner shell
setsid unshare --net --mount --pid --fork --mount-proc --kill-child \
  bash -c 'trap : HUP INT TERM; while :; do sleep 3600 & wait $!; done' exeat-node </dev/null >/dev/null 2>&1 8>&- &
holder=$!
wait_for "the node's first process" 10 pgrep -P "$holder"
write_pid "$RUN/node.pid" "$(pgrep -P "$holder")"

if ! in_cluster "$cluster_dir/node.sh" 8>&-; then
  mapfile -t suspects < <(in_cluster "$cluster_dir/node.sh" --ended 2>/dev/null)
  if ((${#suspects[@]} == 0)); then suspects=(kube-apiserver kubelet containerd coredns); fi
  for program in "${suspects[@]}"; do
    [[ -e $RUN/logs/$program.log ]] || continue
    echo "--- tail of $program.log"; tail -n 15 "$RUN/logs/$program.log" | cut -c1-300
  done >&2
  "$cluster_dir/down.sh" || true
  fail "cluster $NAME did not start"
fi
"$cluster_dir/../images/load.sh" "$("$cluster_dir/../images/build.sh" pause)" 8>&-
step "cluster $NAME is ready: NAME=$NAME e2e/cluster/enter.sh kubectl get nodes"
