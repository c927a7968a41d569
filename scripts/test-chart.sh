#!/usr/bin/env bash
# Tests the chart without a cluster: lint, renderings, the schema of its values, config/. The last line: "N passed, N failed".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$(e2e/cluster/build.sh --print)
[[ -x $bin/helm && -x $bin/kubectl ]] || bin=$(e2e/cluster/build.sh)
HELM=${HELM:-$bin/helm} KUBECTL=${KUBECTL:-$bin/kubectl} PYTHONDONTWRITEBYTECODE=1
export HELM KUBECTL PYTHONDONTWRITEBYTECODE
exec python3 charts/exeat/tests/test_chart.py "$@"
