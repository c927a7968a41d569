#!/usr/bin/env bash
# The guided demo: a cluster of its own (NAME, default: demo), Exeat by its chart, and a story in three scenes. The cluster stays up.
set -euo pipefail
NAME=${NAME:-demo} VERSION=${VERSION:-dev}
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export NAME VERSION CARGO_BUILD_TARGET
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"

bold='' dim='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
scene() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '\n%s\n' "$*"; }
shown() { # what is run, and where: inside of an agent, in its Python, or beside it
  local text words=() word
  for word; do if [[ $word == *" "* ]]; then words+=("'$word'"); else words+=("$word"); fi; done
  case $1 in
    agent) text="$2: \$ ${words[*]:2}" ;;
    boto3) text="$2: >>> $3" ;;
    *) text="\$ ${words[*]}" ;;
  esac
  printf '%s  %s%s\n' "$dim" "$text" "$plain"
}
indent() { cut -c1-"${1:-240}" | sed 's/^/    /'; }
run() { shown "$@"; "$@" 2>&1 | indent; }
# refused COMMAND...: shows a command that must fail; a success ends the demo.
refused() {
  local out
  shown "$@"
  if out=$("$@" 2>&1); then indent <<<"$out"; fail "this should have been refused"; fi
  grep -v '^command terminated with exit code' <<<"$out" | indent 400
}
agent() { kubectl -n agents exec "$1" -c agent -- "${@:2}"; }

# boto3 POD EXPRESSION: as a program of the agent would have it.
boto3() {
  local program='import boto3, sys
s3 = boto3.client("s3")
try: print(eval(sys.argv[1]))
except Exception as error: sys.exit(f"{type(error).__name__}: {error}")'
  agent "$1" python3 -c "$program" "$2"
}

prepare() {
  scene "Getting ready (the first run builds Kubernetes and the rest from source: about half an hour on two cores)"
  # Built before the cluster starts: compilers and a starting control plane don't fit on a small machine together.
  local archives
  archives=$(EXEAT_PROGRAMS=cli e2e/images/project.sh dev)
  mapfile -t archives <<<"$archives"
  e2e/cluster/up.sh
  mkdir -p "$RUN/plugins"
  install -m 755 "${CARGO_TARGET_DIR:-target}/$CARGO_BUILD_TARGET/debug/kubectl-exeat" "$RUN/plugins/"
  e2e/images/load.sh
  e2e/images/load.sh "${archives[@]}"
  e2e/backends/up.sh ministack
  e2e/install.sh
  # What an earlier run has left: its agents, and holds that it was cut off from releasing.
  kubectl delete credentialholds --all >/dev/null
  kubectl -n agents delete deployment,pod --all --ignore-not-found --wait >/dev/null 2>&1 || true
}

scene_kubernetes() {
  scene "Scene 1: an agent with kubectl. No cloud, no key."
  say "The platform team opens namespace agents and sets the guardrails; the team writes a policy: get and list pods, nothing else."
  for sample in rbac provider policy; do run kubectl apply --server-side --force-conflicts -f "config/samples/$sample-kubernetes.yaml"; done
  run kubectl -n agents wait --for=condition=Ready agentcredentialpolicy/pod-reader --timeout=60s
  say "The agent is any image with kubectl. One annotation names the policy; a webhook adds the sidecar."
  run kubectl apply -f config/samples/pod-kubernetes.yaml
  run kubectl -n agents wait --for=condition=Ready pod/pod-agent --timeout=120s
  run kubectl -n agents get pod pod-agent -o "jsonpath={.metadata.annotations.exeat\.dev/policy}: {.spec.initContainers[*].name}, {.spec.containers[*].env[?(@.name=='KUBECONFIG')]}{'\n'}"
  say "Allowed:"
  run agent pod-agent kubectl get pods
  say "Everything else is refused by the API server itself: the token can do no more."
  refused agent pod-agent kubectl get secrets
  refused agent pod-agent kubectl delete pod pod-agent
}

scene_aws() {
  scene "Scene 2: an agent with boto3 and the AWS CLI."
  say "The provider is the sample of config/samples, pointed at MiniStack (STS, IAM, S3) in place of AWS."
  # Only what belongs to a real account differs from the samples.
  sed -e 's|123456789012|000000000000|' \
    -e "s|aws: {.*}|aws: {region: us-east-1, endpoint: \"http://$NODE_IP:$MINISTACK_PORT\", source: Secret, secretRef: {name: ministack}}|" \
    config/samples/provider-aws.yaml >"$RUN/demo-provider.yaml"
  sed 's|123456789012|000000000000|' config/samples/policy-aws.yaml >"$RUN/demo-policy.yaml"
  grep -v '^#' "$RUN/demo-policy.yaml" | indent
  run kubectl apply -f "$RUN/demo-provider.yaml" -f "$RUN/demo-policy.yaml"
  say "Ready means: the issuer assumed the role once with this very policy."
  run kubectl -n agents wait --for=condition=Ready agentcredentialpolicy/report-reader --timeout=60s
  run kubectl apply -f "$here/agent-aws.yaml"
  run kubectl -n agents wait --for=condition=Ready pod/report-agent --timeout=120s
  say "What was injected: addresses, no keys."
  run agent report-agent sh -c 'env | grep ^AWS_ | sort'
  say "Allowed, by boto3 and by the CLI:"
  run boto3 report-agent 's3.get_object(Bucket="reports", Key="q3.txt")["Body"].read()'
  run agent report-agent aws s3 ls s3://reports
  say "Refused by the provider: the role may do all of S3, this session may not."
  refused boto3 report-agent 's3.put_object(Bucket="reports", Key="new.txt", Body=b"x")'
  refused agent report-agent aws s3api get-object --bucket payroll --key salaries.txt /dev/stdout
}

look() {
  scene "Who holds what, until when"
  run kubectl -n agents get credentialsessions
  session=$(kubectl -n agents get credentialsessions -o jsonpath='{range .items[?(@.status.phase=="Active")]}{.metadata.name}{"\n"}{end}' | grep '^report-agent')
  run kubectl -n agents describe credentialsession "$session"
  say "The audit lines of this session: what was decided, and every mint. No secret is in them."
  local program
  for program in controller issuer; do
    shown "kubectl -n exeat-system logs -l app.kubernetes.io/component=$program"
    kubectl -n exeat-system logs -l "app.kubernetes.io/component=$program" --tail=-1 | grep '"audit":' | grep -F "\"session\":\"$session\"" |
      jq -c '{time, event, reason, message, credentialID} | del(.[] | nulls)' | indent
  done
}

# told WORD COMMAND...: shows the first refusal that says so; what leads to it takes a moment to arrive.
told() {
  local word=$1 out end=$((SECONDS + 60)); shift
  shown "$@"
  until ! out=$("$@" 2>&1) && grep -q "$word" <<<"$out"; do
    ((SECONDS < end)) || { indent <<<"$out"; fail "no word of $word"; }
  done
  grep "$word" <<<"$out" | tail -n 1 | indent 400
}
# soon COMMAND...: shows the first success; what leads to it takes a moment to arrive.
soon() {
  local out end=$((SECONDS + 60))
  shown "$@"
  until out=$("$@" 2>&1); do ((SECONDS < end)) || { indent <<<"$out"; fail "this should have worked"; }; done
  indent <<<"$out"
}

revoke() {
  scene "The platform team ends it"
  run kubectl -n agents patch credentialsession "$session" --type=merge -p '{"spec":{"revoke":{"reason":"looks odd, see INC-42"}}}'
  say "The agent's next request for credentials is refused, and says why:"
  told SessionRevoked boto3 report-agent 's3.get_object(Bucket="reports", Key="q3.txt")'
  run kubectl -n agents get credentialsessions -o wide
}

# People, as the API server knows them: who they are, and their groups. What each may do is in config/samples/rbac-*.yaml.
alice=(--as alice --as-group agents-team) bob=(--as bob --as-group security) dave=(--as dave --as-group security-officers)

scene_people() {
  scene "Scene 3: an agent that deletes pods. Somebody must say yes."
  say "The platform team: deletions only with a yes from the group security. alice of the team writes the policy and starts the agent."
  for sample in rbac-team rbac-approvals provider-approvals; do run kubectl apply -f "config/samples/$sample.yaml"; done
  soon kubectl apply -f config/samples/policy-approvals.yaml "${alice[@]}"
  run kubectl -n agents wait --for=condition=Ready agentcredentialpolicy/pod-cleaner --timeout=60s
  run kubectl apply -f config/samples/deployment-approvals.yaml "${alice[@]}"
  run kubectl -n agents run stuck --image=exeat.test/agent:1 --restart=Never --command -- sleep infinity
  run kubectl -n agents rollout status deployment/cleanup-agent --timeout=120s
  say "It runs, and is told for which approval it waits:"
  told "waits for" agent deployment/cleanup-agent kubectl delete pod stuck --wait=false
  run kubectl exeat approvals -n agents
  local workload approval
  workload=$(kubectl -n agents get deployment cleanup-agent -o 'jsonpath={.metadata.uid}')
  approval=$(kubectl -n agents get approvals -o "jsonpath={.items[?(@.spec.request.workload.uid=='$workload')].metadata.name}")
  say "alice may not approve what she wrote herself, though she be in the group; bob may. What he says yes to is shown to him in full."
  told "somebody else approves" kubectl exeat approve "$approval" -n agents -m "it is fine" --yes "${alice[@]}" --as-group security
  run kubectl exeat approve "$approval" -n agents -m "INC-42, until tonight" --yes "${bob[@]}"
  say "And the agent's call works:"
  soon agent deployment/cleanup-agent kubectl delete pod stuck --wait=false
}

kill_switch() {
  scene "The kill switch: a security officer ends it, and holds new ones off"
  local hold
  run kubectl exeat revoke --workload deployment/cleanup-agent -n agents --deny-new -m "INC-43: the wrong pods" --yes "${dave[@]}"
  told SessionRevoked agent deployment/cleanup-agent kubectl get pods
  say "A new pod gets nothing either, and one can find out why:"
  run kubectl -n agents delete pod -l app=cleanup-agent
  told "keeps new sessions off" kubectl exeat explain deployment cleanup-agent -n agents
  run kubectl exeat sessions -n agents --policy pod-cleaner
  run kubectl exeat holds "${dave[@]}"
  say "False alarm. The hold is released; bob's yes is good for ten sessions within eight hours, so nobody is asked again."
  hold=$(kubectl get credentialholds -o 'jsonpath={.items[0].metadata.name}')
  run kubectl exeat release "$hold" "${dave[@]}"
  run kubectl -n agents rollout status deployment/cleanup-agent --timeout=120s
  soon agent deployment/cleanup-agent kubectl get pods
}

SECONDS=0
prepare
scene_kubernetes
scene_aws
look
revoke
scene_people
kill_switch
scene "The cluster stays up"
cat <<END
    NAME=$NAME e2e/cluster/enter.sh                       a shell in it, with kubectl, kubectl exeat and helm
    NAME=$NAME e2e/cluster/enter.sh kubectl exeat watch -n agents
    make demo-down                                      ends it and leaves nothing
END
printf '\n%s\n' "done in $SECONDS s"
