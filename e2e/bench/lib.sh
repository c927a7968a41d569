# shellcheck shell=bash
# What the parts share. The caller sets `here`, `results` (a file of JSON lines) and `pids`.
# shellcheck disable=SC2154  # set by the caller

# background LOG COMMAND...: starts it; it ends with the script. Its PID is in $started.
background() {
  local log=$1; shift
  "$@" >"$log" 2>&1 </dev/null &
  started=$!
  pids+=("$started")
}
end_background() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
}

# record KEY=VALUE...: one JSON line of strings and numbers, with what comes on stdin merged in.
record() {
  local arguments=() pair
  for pair; do arguments+=(--arg "${pair%%=*}" "${pair#*=}"); done
  jq -c "${arguments[@]}" '($ARGS.named | with_entries(.value = (.value | tonumber? // .))) + .' >>"$results"
}

# load PART SERVER ROUND CONNECTIONS SECONDS WRK-ARGUMENTS...: a closed loop: each connection asks again once it has its answer.
load() {
  local part=$1 server=$2 round=$3 connections=$4 seconds=$5 out line; shift 5
  out=$(wrk --threads 1 --connections "$connections" --duration "${seconds}s" --timeout 5s -s "$here/wrk.lua" "$@") ||
    fail "wrk: $out"
  line=$(sed -n 's/^JSON //p' <<<"$out")
  [[ $(jq .errors <<<"$line") == 0 && $(jq .requests <<<"$line") != 0 ]] || fail "$server: answers were missing or none of 2xx: $line"
  [[ $round == warm-up ]] || record "part=$part" "server=$server" "round=$round" "connections=$connections" <<<"$line"
  note "$(jq -r --arg what "$part $server $round c=$connections" '"\($what): \(.requests / .seconds | floor) requests/s, p50 \(.p50_us) us, p99 \(.p99_us) us"' <<<"$line")"
}

# certificate FOLDER: a self-signed certificate for 127.0.0.1 as cert.pem and key.pem.
certificate() {
  printf '[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n' >"$1/openssl.cnf"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=exeat-bench -config "$1/openssl.cnf" \
    -keyout "$1/key.pem" -out "$1/cert.pem" 2>/dev/null
}
