"""How fast people's words count: approvals.py RESULTS.

From an approval to the agent's first credential, and how many decisions the API server, our webhook and the admission policies take a second.
BENCH_APPROVALS=10 samples, BENCH_DECISIONS=200 decisions.
"""

import json
import os
import sys
import time

import api as cluster
from api import Api, in_parallel, kubernetes_allow, make_namespace, make_pod, namespaced, note, ours, quantiles, record, seconds_of, until

ASKED = "bench-asked"
# As many wait in one namespace at once, by default.
QUEUE = 50
SCRIPT = """
echo waiting
until curl -sf -m 2 -o /dev/null -H "Authorization: Bearer $(cat /var/run/exeat/token)" http://127.0.0.1:9911/exeat/v1/credential
do sleep 0.02; done
echo got
sleep 86400
"""


class Person:
    """The API server, as somebody of these groups."""

    def __init__(self, api, user, *groups):
        self.api, self.user = api, user
        self.headers = [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]

    def approve(self, namespace, approval):
        request = approval["spec"]["request"]
        word = {"approver": self.user, "decision": "Approve", "digest": request["digest"], "comment": "bench"}
        body = [{"op": "add", "path": "/spec/decisions/-", "value": word}]
        path = ours(namespace, f"approvals/{approval['metadata']['name']}")
        status, text = self.api.call("PATCH", path, body, "application/json-patch+json", self.headers)
        if status >= 300:
            sys.exit(f"error: {path}: {status} {text}")


def prepare(api, namespace):
    make_namespace(api, namespace)
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "approvers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "exeat-approver"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "security"}],
    }
    api.put(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/approvers", body)
    cluster.make_policy(api, namespace, kubernetes_allow(namespace, "list pods"), provider="bench-asks")


def provider(api):
    rule = {"name": "lists", "actions": ["list pods"], "required": [{"group": "security", "count": 1}]}
    binding = {"name": "bench", "namespaces": ["bench-*"], "principals": [cluster.GRANTS], "maxActions": ["list *"], "approvalRules": [rule]}
    body = {"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "bench-asks"}}
    api.put(f"{cluster.GROUP}/credentialproviders/bench-asks", body | {"spec": {"kubernetes": {}, "bindings": [binding]}})


def waiting(api, namespace):
    approvals = api.get(ours(namespace, "approvals"))["items"]
    return [a for a in approvals if a.get("status", {}).get("phase") == "Pending"]


def running_pod(api, namespace, name):
    container = {"name": "agent", "image": "exeat.test/agent:1", "command": ["sh", "-c", SCRIPT], "securityContext": cluster.RESTRICTED}
    spec = {
        "serviceAccountName": "agent",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": name, "annotations": {"exeat.dev/policy": "work"}}
    api.must("POST", namespaced(namespace, "pods"), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def first_credentials(api, ann, samples):
    """Seconds from the moment at which the approver's client sends the yes to the moment at which the agent holds a credential."""
    taken = []
    for sample in range(samples):
        name = f"asked-{sample}"
        running_pod(api, ASKED, name)

        def written(word, name=name):
            """When the agent's container wrote this line, by the container runtime."""
            status, text = api.call("GET", namespaced(ASKED, f"pods/{name}/log?container=agent&timestamps=true"))
            lines = [line.split() for line in text.splitlines()] if status == 200 else []
            return next((seconds_of(line[0]) for line in lines if line[1:] == [word]), None)

        until(f"pod {name} runs", 120, lambda: written("waiting"))
        approval = until(f"the approval of {name}", 60, lambda: waiting(api, ASKED))[0]
        sent = time.time()
        ann.approve(ASKED, approval)
        answered = time.time()
        got = until(f"the credential of {name}", 60, lambda: written("got"))
        taken.append(got - sent)
        note(f"{name}: {got - sent:.2f} s, of which the write {answered - sent:.2f} s")
        api.call("DELETE", namespaced(ASKED, f"pods/{name}?gracePeriodSeconds=0"))
    return taken


def decisions(api, ann, count):
    """That many approvals, decided as fast as eight clients can."""
    spaces = [f"bench-queue-{n}" for n in range(-(-count // QUEUE))]
    for namespace in spaces:
        prepare(api, namespace)
        in_parallel(lambda n, namespace=namespace: make_pod(api, namespace, f"pod-{n}"), range(min(QUEUE, count)))
    queue = []
    for namespace in spaces:
        wanted = min(QUEUE, count - len(queue))
        open_ = until(f"{wanted} approvals in {namespace}", 240, lambda: (a := waiting(api, namespace)) and len(a) >= wanted and a)
        queue += [(namespace, approval) for approval in open_[:wanted]]

    def decide(item):
        before = time.monotonic()
        ann.approve(*item)
        return time.monotonic() - before

    begun = time.monotonic()
    each = in_parallel(decide, queue)
    seconds = time.monotonic() - begun

    def active():
        sessions = [s for n in spaces for s in api.get(ours(n, "credentialsessions"))["items"]]
        return sum(s.get("status", {}).get("phase") == "Active" for s in sessions) >= count

    until(f"{count} sessions are Active", 240, active)
    opened = time.monotonic() - begun
    for namespace in spaces:
        cluster.remove_namespace(api, namespace)
    return {"decisions": count, "seconds": seconds, "a_second": count / seconds, "each": quantiles(each), "all_active_seconds": opened}


def main():
    results = sys.argv[1]
    api = Api()
    ann = Person(api, "ann", "security")
    provider(api)
    prepare(api, ASKED)
    taken = first_credentials(api, ann, int(os.environ.get("BENCH_APPROVALS", "10")))
    figures = quantiles(taken) | {"min": min(taken)}
    record(results, part="approve", **figures)
    cluster.remove_namespace(api, ASKED)
    many = decisions(api, ann, int(os.environ.get("BENCH_DECISIONS", "200")))
    record(results, part="decide", **many)
    print(json.dumps({"approve_to_first_credential": figures, "decisions": many}, indent=2))
    api.call("DELETE", f"{cluster.GROUP}/credentialproviders/bench-asks")


if __name__ == "__main__":
    main()
