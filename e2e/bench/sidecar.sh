#!/usr/bin/env bash
# The sidecar against a bare axum handler with the same bytes, and its memory. Run by run.sh, in a network namespace of its own:
#   sidecar.sh WORK SIDECAR BENCH RESULTS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$here/../cluster/lib.sh"
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$here/lib.sh"
work=$1 sidecar=$2 bench=$3 results=$4
rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-10} connections=16
pids=()
trap end_background EXIT
ip link set lo up

mkdir -p "$work/run"
certificate "$work"
printf 'identity-token' >"$work/identity"
background "$work/issuer.log" "$bench" issuer --port 8443 --cert-file "$work/cert.pem" --key-file "$work/key.pem"
EXEAT_ISSUER_CA=$(cat "$work/cert.pem") background "$work/sidecar.log" "$sidecar" --issuer-url https://127.0.0.1:8443 \
  --token-file "$work/identity" --run-dir "$work/run" --provider aws --listen-port 9911
process=$started
wait_for "the sidecar's first credential" 20 "$sidecar" probe --listen-port 9911

memory() { # memory STATE: KiB
  awk '/^(VmRSS|VmHWM|RssAnon|RssFile):/ { printf "%s\"%s\": %d", (n++ ? ", " : "{"), substr($1, 1, length($1) - 1), $2 } END { print "}" }' \
    "/proc/$process/status" | record part=memory "state=$1"
}
sleep 5
memory idle

path=/aws/credentials
secret=$(cat "$work/run/token")
ask() { curl -sS --noproxy '*' -H "Authorization: $secret" "$@"; }
ask -f "http://127.0.0.1:9911$path" -o "$work/body.json"
background "$work/bare.log" "$bench" plain --port 9912 --path "$path" --body-file "$work/body.json"
wait_for "the bare server" 10 ask -f "http://127.0.0.1:9912$path" -o "$work/bare.json"
cmp "$work/body.json" "$work/bare.json"
heads() { ask -o /dev/null -D - "http://127.0.0.1:$1$path" | tr -d '\r' | grep -vi '^date:' | tr "[:upper:]" "[:lower:]" | sort; }
diff <(heads 9911) <(heads 9912) >&2 || fail "the two answers have different heads"

measure() { # measure SERVER PORT ROUND SECONDS
  load sidecar "$1" "$3" "$connections" "$4" -H "Authorization: $secret" "http://127.0.0.1:$2$path"
}
measure sidecar 9911 warm-up 2
measure bare 9912 warm-up 2
for ((round = 1; round <= rounds; round++)); do
  measure sidecar 9911 "$round" "$seconds"
  measure bare 9912 "$round" "$seconds"
done
memory loaded
