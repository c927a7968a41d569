#!/usr/bin/env bash
# The tests that take longer than `make test` may: soak.sh [STAGE...], by default all. docs/testing.md says what each shows.
#   SOAK_SECONDS  time for each fuzz target (default: 300)     SOAK_SEED   (default: 1)
#   SOAK_CASES    documents for our own evaluator (default: 1000000)
#   SOAK_SERVERS  documents for each of MiniStack and MinIO (default: 5000)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
if (($# == 0)); then set -- fuzz rules servers reproducible; fi
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET
seed=${SOAK_SEED:-1}

# With a profile that is fast and still checks for overflow.
fuzz() { cargo run --locked -q --profile fuzz -p exeat-fuzz -- --seed "$seed" --failures "${CARGO_TARGET_DIR:-target}/fuzz-failures" "$@"; }

stage_fuzz() { fuzz --seconds "${SOAK_SECONDS:-300}"; }
stage_rules() { fuzz document actions --runs "${SOAK_CASES:-1000000}"; }
stage_servers() { e2e/differential/run.sh "${SOAK_SERVERS:-5000}" "$seed"; }
stage_reproducible() { scripts/reproducible.sh; }

failed=()
for stage; do
  began=$SECONDS
  echo "=== $stage"
  # In a subshell of its own with errexit on: "if stage" would switch errexit off inside it.
  set +e; (set -eo pipefail; "stage_$stage"); status=$?; set -e
  if ((status)); then failed+=("$stage"); fi
  echo "=== $stage: $( ((status)) && echo FAILED || echo ok) after $((SECONDS - began)) s"
done
if ((${#failed[@]})); then echo "failed stages: ${failed[*]}"; exit 1; fi
