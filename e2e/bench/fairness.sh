#!/usr/bin/env bash
# One noisy namespace and 49 others, beside a server that is flooded as a control. Run by run.sh inside of the cluster:
#   fairness.sh WORK BENCH RESULTS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$here/../cluster/lib.sh"
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$here/lib.sh"
work=$1 bench=$2 results=$3
pids=()
trap end_background EXIT

mkdir -p "$work/elsewhere"
certificate "$work/elsewhere"
background "$work/elsewhere.log" "$bench" issuer --port 19446 --cert-file "$work/elsewhere/cert.pem" --key-file "$work/elsewhere/key.pem"
export FAIR_ELSEWHERE="--issuer=127.0.0.1:19446 --server-name=127.0.0.1 --ca-file=$work/elsewhere/cert.pem"
python3 "$here/fairness.py" "$bench" "$work" "$results"
