"""From the call that creates a pod to its app's first credential, with and without injection, one pod at a time.

Run by run.sh inside of the cluster: pods.py PODS RESULTS. Times are the wall clock of this one machine: before the call here,
and the container runtime's for the line that the app (and the sidecar) writes.
"""

import datetime
import json
import sys
import time

from api import RESTRICTED, Api, until

NAMESPACE = "agents"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
FIRST_CREDENTIAL = """
[ -d /var/run/exeat ] || { echo "not injected"; exit 1; }
tries=1
until curl -sf -m 2 -o /dev/null -H "Authorization: Bearer $(cat /var/run/exeat/token)" http://127.0.0.1:9911/exeat/v1/credential
do tries=$((tries + 1)); sleep 0.05; done
echo "tries $tries"
"""
# kubelet alone: a container that does nothing, in the sidecar's place and with its kind of probe.
IDLE_SIDECAR = {
    "name": "idle",
    "image": "exeat.test/agent:1",
    "command": ["sleep", "3600"],
    "restartPolicy": "Always",
    "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 120, "timeoutSeconds": 5},
    "securityContext": RESTRICTED,
}
VARIANTS = {
    "without": {"script": "echo tries 1"},
    "idle-sidecar": {"script": "echo tries 1", "init": [IDLE_SIDECAR]},
    "injected": {"script": FIRST_CREDENTIAL, "annotations": {"exeat.dev/policy": "pod-reader"}},
}


def pod(name, script, annotations=None, init=None):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "serviceAccountName": "report-agent",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": init or [],
            "containers": [
                {
                    "name": "agent",
                    "image": "exeat.test/agent:1",
                    "command": ["sh", "-c", script],
                    "securityContext": RESTRICTED,
                }
            ],
        },
    }


def lines(api, name, container):
    """The log of a container: when each line was written (seconds), and the line."""
    text = api.must("GET", f"{PODS}/{name}/log?timestamps=true&container={container}")
    for line in text.splitlines():
        stamp, _, said = line.partition(" ")
        whole, _, fraction = stamp.rstrip("Z").partition(".")
        at = datetime.datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
        yield at, said


def measure(api, variant, name):
    api.must("GET", "/readyz")  # the connection stands before the clock starts
    began = time.time()
    api.must("POST", PODS, pod(name, **VARIANTS[variant]))
    figures = {"created_ms": (time.time() - began) * 1000}

    def ended():
        phase = json.loads(api.must("GET", f"{PODS}/{name}"))["status"].get("phase")
        return phase if phase in ("Succeeded", "Failed") else None

    if until(f"the end of pod {name}", 120, ended) != "Succeeded":
        sys.exit(f"error: pod {name} failed: {list(lines(api, name, 'agent'))}")
    at, said = next(iter(lines(api, name, "agent")))
    figures |= {"first_ms": (at - began) * 1000, "tries": int(said.removeprefix("tries "))}
    if variant == "injected":
        log = list(lines(api, name, "exeat-sidecar"))
        held = [at for at, said in log if "a credential is held" in said]
        figures |= {"sidecar_started_ms": (log[0][0] - began) * 1000, "sidecar_held_ms": (held[0] - began) * 1000}
    remove(api, name)
    return {key: round(value, 1) for key, value in figures.items()}


def remove(api, name):
    api.call("DELETE", f"{PODS}/{name}")
    until(f"removal of pod {name}", 60, lambda: api.call("GET", f"{PODS}/{name}")[0] == 404)
    time.sleep(1)


def main():
    count, results = int(sys.argv[1]), sys.argv[2]
    api = Api()
    measure(api, "injected", "bench-warm-up")
    for round_ in range(1, count + 1):
        for variant in VARIANTS:
            figures = measure(api, variant, f"bench-{variant}-{round_}")
            with open(results, "a", encoding="utf-8") as file:
                print(json.dumps({"part": "pods", "variant": variant, "round": round_, **figures}), file=file)
            print(f"        pod {variant} {round_}: {figures['first_ms']:.0f} ms", file=sys.stderr)


main()
