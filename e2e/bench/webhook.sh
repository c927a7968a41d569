#!/usr/bin/env bash
# The webhook against a bare axum TLS server that reads the same review. Run by run.sh inside of the cluster, whose policies it reads:
#   webhook.sh WORK WEBHOOK BENCH RESULTS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$here/../cluster/lib.sh"
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$here/lib.sh"
work=$1 webhook=$2 bench=$3 results=$4
rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-10}
pids=()
trap end_background EXIT

certificate "$work"
jq -c . "$here/review.json" >"$work/review.json"
# A replica of its own, without the limits of a pod. With certificate files it only reads from the API server. It is ready once the
# controller lists the image that it injects, which is why that is the installation's.
image=$(kubectl get validatingadmissionpolicy exeat-sidecar -o 'jsonpath={.metadata.annotations.exeat\.dev/sidecar-images}' | cut -d , -f 1)
background "$work/webhook.log" "$webhook" --kubeconfig "$KUBECONFIG" --pod-name bench --pod-namespace exeat-system \
  --sidecar-image "$image" --listen 127.0.0.1:19443 --health-listen 127.0.0.1:19444 \
  --tls-cert-file "$work/cert.pem" --tls-key-file "$work/key.pem"
background "$work/bare.log" "$bench" review --port 19445 --cert-file "$work/cert.pem" --key-file "$work/key.pem"
wait_for "the webhook" 30 curl -sSf http://127.0.0.1:19444/readyz

path=/mutate-pods
post() {
  curl -sSf --cacert "$work/cert.pem" -H 'Content-Type: application/json' --data-binary "@$work/review.json" "https://127.0.0.1:$1$path"
}
is_injected() { post 19443 | jq -e '.response | .allowed and .patchType == "JSONPatch"'; }
wait_for "a review that is answered with the injection" 20 is_injected
wait_for "the bare server" 10 post 19445
jq -n -c --argjson review "$(wc -c <"$work/review.json")" --argjson answer "$(post 19443 | wc -c)" \
  '{review_bytes: $review, answer_bytes: $answer}' | record part=review

measure() { # measure SERVER PORT ROUND CONNECTIONS SECONDS
  load webhook "$1" "$3" "$4" "$5" "https://127.0.0.1:$2$path" -- "$work/review.json"
}
measure webhook 19443 warm-up 4 2
measure bare 19445 warm-up 4 2
for ((round = 1; round <= rounds; round++)); do
  for connections in 1 16; do
    measure webhook 19443 "$round" "$connections" "$seconds"
    measure bare 19445 "$round" "$connections" "$seconds"
  done
done
