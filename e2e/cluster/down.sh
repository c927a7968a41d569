#!/usr/bin/env bash
# Ends the cluster NAME and removes its run folder. Safe to call on a half-dead one, or on none.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ ! -e $RUN ]]; then note "no cluster $NAME at $RUN"; exit 0; fi
[[ -e $RUN/.exeat-cluster ]] || fail "$RUN is not a run folder of a test cluster: nothing removed"

if pid=$(read_pid "$RUN/node.pid"); then
  # The first process of a PID namespace takes all others with it: containers, their shims, backends, whatever entered.
  kill -KILL "$pid"
  wait_for "end of the node's first process" 20 bash -c "! kill -0 $pid 2>/dev/null" || exit 1
fi

# Its mounts went with its mount namespace; the kernel may take a moment.
remove_run_folder() { rm -rf --one-file-system "$RUN"; }
wait_for "removal of $RUN" 20 remove_run_folder

remove_cgroups() {
  local root left=0
  for root in /sys/fs/cgroup/*/"exeat-$NAME" "/sys/fs/cgroup/exeat-$NAME"; do
    [[ -d $root ]] || continue
    find "$root" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    [[ ! -d $root ]] || left=1
  done
  return $left
}
wait_for "removal of the cgroups of $NAME" 20 remove_cgroups
note "cluster $NAME is gone"
