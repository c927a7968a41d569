#!/usr/bin/env bash
# Runs every client of the conformance table on a cluster of its own (about half an hour), and writes the table into docs/conformance.md.
# Arguments choose tests; the table is then left alone. Needs npm, mvn and javac besides what `make deps` installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for program in npm mvn javac; do
  command -v "$program" >/dev/null || { echo "error: $program is missing: install Node.js 20 and a JDK 17 (or newer), and maven" >&2; exit 1; }
done
EXEAT_CONFORMANCE_RESULTS=$(mktemp "${TMPDIR:-/var/tmp}/exeat-conformance.XXXXXX")
trap 'rm -f "$EXEAT_CONFORMANCE_RESULTS"' EXIT
export EXEAT_CONFORMANCE_RESULTS E2E_NAME=${E2E_NAME:-conformance} E2E_ONLY='^conformance$' E2E_LIMIT=${E2E_LIMIT:-3600}
export EXEAT_AGENT_IMAGES="pause agent agent-old conformance-go conformance-rust conformance-python conformance-node conformance-java"
scripts/e2e.sh "$@" --include-ignored
if (($# == 0)); then e2e/conformance/table.py "$EXEAT_CONFORMANCE_RESULTS"; fi
