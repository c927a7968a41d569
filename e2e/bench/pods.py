"""From the call that creates a pod to its app's first credential, with and without injection, one pod at a time.

Run by run.sh inside of the cluster: pods.py PODS RESULTS. Times are the wall clock of this one machine: before the call here,
and the container runtime's for the line that the app (and the sidecar) writes.
"""

import base64
import datetime
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time

NAMESPACE = "agents"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
FIRST_CREDENTIAL = """
[ -d /var/run/exeat ] || { echo "not injected"; exit 1; }
tries=1
until curl -sf -m 2 -o /dev/null -H "Authorization: Bearer $(cat /var/run/exeat/token)" http://127.0.0.1:9911/exeat/v1/credential
do tries=$((tries + 1)); sleep 0.05; done
echo "tries $tries"
"""
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
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


class Api:
    """The API server, by the admin's client certificate."""

    def __init__(self):
        view = ["kubectl", "config", "view", "--raw", "--minify", "-o", "json"]
        config = json.loads(subprocess.run(view, check=True, capture_output=True).stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        with tempfile.TemporaryDirectory() as folder:
            files = [(cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")]
            authority, certificate, key = [self.file(source, name, folder) for source, name in files]
            self.tls = ssl.create_default_context(cafile=authority)
            self.tls.load_cert_chain(certificate, key)
        self.host = cluster["server"].removeprefix("https://")
        self.connection = None

    @staticmethod
    def file(source, name, folder):
        if name in source:
            return source[name]
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(base64.b64decode(source[f"{name}-data"]))
        return path

    def call(self, method, path, body=None):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=30)
        payload = json.dumps(body) if body is not None else None
        self.connection.request(method, path, payload, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def must(self, method, path, body=None):
        status, text = self.call(method, path, body)
        if status >= 300:
            sys.exit(f"error: {method} {path}: {status} {text}")
        return text


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


def until(what, seconds, condition):
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            sys.exit(f"error: {what}: not there after {seconds} s")
        time.sleep(0.2)
    return result


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
