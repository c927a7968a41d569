#!/usr/bin/env bash
# Holds the rules against servers that judge the documents themselves:
#   run.sh [CASES [SEED]]     cases for each of MiniStack (dialect AWS) and MinIO (dialect S3Compatible); 300 and 1 by default
# Needs root: the servers run in a network of their own, and end with it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cases=${1:-300} seed=${2:-1}

venv=$("$here/../backends/install.sh")
minio=$("$cluster_dir/build.sh" --print backends)/minio
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$here/../.."
export CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
for dialect in AWS S3Compatible; do
  cargo run -q -p exeat-crds --example gen_cases -- "$dialect" "$cases" "$seed" >"$work/$dialect.jsonl"
done
step "$cases cases each on MiniStack and MinIO"
unshare --net --pid --fork --kill-child --mount-proc bash -c 'ip link set lo up && exec "$@"' _ \
  "$venv/bin/python3" "$here/run.py" --folder "$work" --ministack "$venv/bin/ministack" --minio "$minio" --seed "$seed"
