#!/usr/bin/env bash
# Runs the e2e tests on a fresh cluster: start, images, backends, our chart, tests, teardown. Arguments go to every test binary.
#   E2E_NAME   the cluster's name (default: test)     E2E_KEEP=1    leaves it running
#   E2E_LIMIT  the most that the tests may take, in seconds (default: 2700)
#   E2E_ONLY   names of test binaries, as a regular expression; all by default
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
NAME=${E2E_NAME:-test} VERSION=${VERSION:-dev}
EXEAT_IMAGE_TAG=$VERSION
export NAME VERSION EXEAT_IMAGE_TAG
# shellcheck source-path=SCRIPTDIR source=../e2e/cluster/lib.sh
source e2e/cluster/lib.sh
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET

# shellcheck disable=SC2317  # called by the trap
finish() {
  local status=$?
  trap - EXIT INT TERM
  if ((status)); then step "e2e failed; the state of cluster $NAME:"; cluster_dump | tail -n 300 || true; fi
  [[ -n ${E2E_KEEP:-} ]] || "$cluster_dir/down.sh" || status=1
  exit "$status"
}

# Built before the cluster starts: compilers and a starting control plane don't fit on a small machine together.
step "building the tests"
export EXEAT_BUILD_ALL=1
archives=$(e2e/images/project.sh dev)
mapfile -t archives <<<"$archives"
messages=$(cargo test --locked --workspace --features exeat-e2e/cluster --no-run --message-format=json-render-diagnostics)
# The stories of "alone" disturb others; "uninstall" takes Exeat away, and "newcomer" installs it anew, so they come last.
mapfile -t binaries < <(jq -r 'select(.profile.test == true and .executable != null and .target.kind == ["test"]
    and (.package_id | test("#exeat-e2e@")) and (.target.name | test(env.E2E_ONLY // ".")))
  | "\({alone: 1, uninstall: 2, newcomer: 3}[.target.name] // 0)\t\(.executable)"' <<<"$messages" | sort | cut -f2)
((${#binaries[@]})) || fail "there are no test binaries"
trap finish EXIT
trap 'exit 130' INT TERM
e2e/cluster/down.sh
e2e/cluster/up.sh
e2e/images/load.sh
e2e/images/load.sh "${archives[@]}"
e2e/backends/up.sh
e2e/install.sh

limit=$((SECONDS + ${E2E_LIMIT:-2700}))
export EXEAT_E2E=1 EXEAT_ROOT=$root CARGO_MANIFEST_DIR=$root/e2e
# Stories mostly wait: more of them than cores run side by side.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
cd e2e # as cargo test does
failed=0
for binary in "${binaries[@]}"; do
  left=$((limit - SECONDS))
  ((left > 0)) || { echo "error: no time left for $(basename "$binary")"; failed=1; break; }
  step "running $(basename "$binary")"
  in_cluster timeout --kill-after=20 "$left" "$binary" "$@" </dev/null && continue
  echo "error: it ended with status $?"; failed=1
done
exit "$failed"
