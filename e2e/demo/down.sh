#!/usr/bin/env bash
# Ends the demo's cluster and leaves nothing of it.
set -euo pipefail
NAME=${NAME:-demo} exec "$(dirname "${BASH_SOURCE[0]}")/../cluster/down.sh"
