#!/usr/bin/env bash
# Everything that CI runs, in stages: test.sh [STAGE...]. A failed stage does not keep the others from running.
# The last line sums up all tests: "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
all=(fmt shell pins prefetch clippy docs generated deny helm unit differential e2e)
if (($# == 0)); then set -- "${all[@]}"; fi

CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/exeat-test.XXXXXX")
results=$work/results; : >"$results"
prefetch_pid=
finish() {
  if [[ -n $prefetch_pid ]]; then kill -- "-$prefetch_pid" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT

stage_fmt() { cargo fmt --all --check; }
stage_shell() { git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck -x; }
stage_pins() { scripts/check-pins.sh && e2e/conformance/table.py --check; }
stage_clippy() {
  cargo clippy --locked --workspace --all-targets --features exeat-e2e/cluster -- -D warnings
  # The workspace turns on what kubectl-exeat is installed without: the webhook's server.
  cargo check --locked -p exeat-cli
}
stage_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace; }
stage_generated() {
  cargo run --locked -q -p exeat-crds --bin exeat-crdgen -- --check
  scripts/generate-config.sh --check
  scripts/check-security.sh
}
stage_unit() { cargo test --locked --workspace --features exeat-e2e/cluster --no-run && cargo test --locked --workspace 2>&1 | tee -a "$results"; }
stage_differential() { e2e/differential/run.sh; } # our rules against MiniStack's and MinIO's own evaluators
stage_e2e() { scripts/e2e.sh 2>&1 | tee -a "$results"; }

# The slow builds that only e2e needs run beside the first stages; e2e waits for them.
stage_prefetch() {
  set -m
  (e2e/cluster/build.sh && e2e/cluster/build.sh backends && e2e/images/build.sh && e2e/backends/install.sh) >"$work/prefetch.log" 2>&1 </dev/null &
  prefetch_pid=$!
  set +m
}

stage_deny() {
  PATH=$(scripts/cargo-tool.sh cargo-deny 0.20.2):$PATH
  cargo-deny --locked check bans licenses sources
}

stage_helm() { scripts/test-chart.sh 2>&1 | tee -a "$results"; }

failed=() timings=()
for stage; do
  began=$SECONDS
  echo "=== $stage"
  # In a subshell of its own with errexit on: "if stage" would switch errexit off inside it.
  if [[ $stage == prefetch ]]; then stage_prefetch; continue; fi
  set +e; (set -eo pipefail; "stage_$stage"); status=$?; set -e
  took=$((SECONDS - began)) verdict=ok
  if ((status)); then verdict=FAILED; failed+=("$stage"); fi
  timings+=("$(printf '%-10s %6d s  %s' "$stage" "$took" "$verdict")")
  echo "=== $stage: $verdict after $took s"
done

echo
printf '%s\n' "${timings[@]}"
printf '%-10s %6d s\n' total "$SECONDS"
if ((${#failed[@]})); then echo "failed stages: ${failed[*]}"; fi
read -r passed broken < <(awk '/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 } /^test result: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1) } }
  END { print p + 0, f + 0 }' "$results")
ran_tests=
for stage; do if [[ $stage == unit || $stage == e2e ]]; then ran_tests=1; fi; done
if [[ -n $ran_tests ]]; then echo "$passed passed, $broken failed"; fi
if ((${#failed[@]} || broken)) || [[ -n $ran_tests && $passed == 0 ]]; then exit 1; fi
